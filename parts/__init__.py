"""What is taught: one readable file a part, with its network, its recipe and its lesson."""
