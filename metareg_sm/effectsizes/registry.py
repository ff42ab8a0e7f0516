"""The registry of measures: every entry with formula, variance, inputs, scale and source."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from metareg_sm.effectsizes.entries_means import MEANS
from metareg_sm.effectsizes.entries_paired import PAIRED
from metareg_sm.effectsizes.entries_rates import RATES
from metareg_sm.effectsizes.entries_tables import TABLES
from metareg_sm.effectsizes.records import Measure

#: Measures by their names in lower case.
MEASURES: Mapping[str, Measure] = MappingProxyType(
    {measure.name.lower(): measure for measure in (*TABLES, *RATES, *MEANS, *PAIRED)}
)
