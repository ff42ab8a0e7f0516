"""Formula interface."""
