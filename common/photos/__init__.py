"""Pictures and videos in, faces out."""
