"""Baseline (underlying) risk: how the risk of the treated goes with that of the controls."""

from metareg_sm.baseline.record import BaselineRisk
from metareg_sm.baseline.risk import baseline_risk

__all__ = ["BaselineRisk", "baseline_risk"]
