"""Benchmarks for asv: the speed of metareg_sm from commit to commit."""
