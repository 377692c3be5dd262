"""The parts as notebooks, and the command that makes them from the parts' own files."""
