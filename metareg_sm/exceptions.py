"""Errors and warnings of the package; each stands on a class that statsmodels users catch."""

from __future__ import annotations

from statsmodels.tools.sm_exceptions import (
    ConvergenceWarning,
    MissingDataError,
    ModelWarning,
    SingularMatrixWarning,
)

__all__ = [
    "BaselineWarning",
    "ComparisonError",
    "ConvergenceWarning",
    "DataRemovedError",
    "DesignError",
    "EffectSizeWarning",
    "FewStudiesWarning",
    "FileError",
    "IdentificationWarning",
    "IntervalWarning",
    "MemoryLimitError",
    "MetaRegError",
    "MissingFileError",
    "MissingStudiesError",
    "OptionError",
    "OutcomeError",
    "RankDeficiencyWarning",
    "VarianceError",
]


class MetaRegError(ValueError):
    """Base of the errors that metareg_sm raises."""


class VarianceError(MetaRegError):
    """Sampling variances that are absent, impossible, or leave the model undefined."""


class DesignError(MetaRegError):
    """Outcomes, moderators or studies that cannot be fitted."""


class MissingStudiesError(DesignError, MissingDataError):
    """Missing values where none may be, or no study left without them."""


class OptionError(MetaRegError, TypeError):
    """An option or keyword that does not exist, or does not go with the others."""


class DataRemovedError(MetaRegError, AttributeError):
    """Something that needs the data of a fit after `remove_data()`."""


class OutcomeError(OptionError, IndexError):
    """An outcome, among many, that is not there."""


class FileError(MetaRegError, OSError):
    """A file that cannot be read or written, or does not hold what its name says."""


class MissingFileError(FileError, FileNotFoundError):
    """A file, or the folder for one, that does not exist."""


class MemoryLimitError(MetaRegError, MemoryError):
    """More memory would be needed than there is."""


class ComparisonError(MetaRegError):
    """Models that cannot be compared with each other."""


class RankDeficiencyWarning(SingularMatrixWarning):
    """Some moderators are redundant: they depend linearly on others."""


class EffectSizeWarning(ModelWarning):
    """Some effect sizes are undefined, rest on an added constant, or stand on doubtful numbers."""


class BaselineWarning(ModelWarning):
    """A moderator is computed from the control arm that the outcome is computed from."""


class FewStudiesWarning(ModelWarning):
    """There are few studies for what is asked of them."""


class IdentificationWarning(ModelWarning):
    """The data say nothing about some parameter of the random effects."""


class IntervalWarning(ModelWarning):
    """A confidence set is empty, unbounded or not one interval."""
