"""A fit in words and tables."""
