"""Step-function selection models (Vevea & Hedges, 1995)."""

from metareg_sm.stats.selection.model import SelectionModel, fit_selection
from metareg_sm.stats.selection.profile import profile_weights
from metareg_sm.stats.selection.record import SelectionFit
from metareg_sm.stats.selection.steps import StepFunction

__all__ = ["SelectionFit", "SelectionModel", "StepFunction", "fit_selection", "profile_weights"]
