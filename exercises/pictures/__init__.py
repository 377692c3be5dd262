"""The pictures of the sheets."""
