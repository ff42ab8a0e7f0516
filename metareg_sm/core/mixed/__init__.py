"""Dependent effects: nested, crossed and structured random effects over any known V."""
