"""Estimators of tau2, and the registry that names them."""

from metareg_sm.core.tau2.estimators import ESTIMATORS, Estimator, Kind, Tau2Estimate

__all__ = ["ESTIMATORS", "Estimator", "Kind", "Tau2Estimate"]
