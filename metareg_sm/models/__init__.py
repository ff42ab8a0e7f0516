"""Models: what `fit` does, and nothing after it."""
