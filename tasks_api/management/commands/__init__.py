"""A command for each."""
