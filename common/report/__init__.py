"""The pages under ``reports``."""
