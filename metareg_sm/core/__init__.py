"""Numerical kernel: arrays in, small frozen records out; numpy and scipy only.

The last axis is the study, leading axes are anything: one fit, a million outcomes, permutations,
bootstrap samples, deleted studies and the grid of a global search are the same calls.
"""
