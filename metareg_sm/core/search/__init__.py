"""Certified search for the global maximum of a likelihood of tau2."""
