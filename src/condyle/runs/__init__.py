"""A run on disk: its folder, its tables, and what made it."""
