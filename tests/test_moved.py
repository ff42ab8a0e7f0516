"""Old import paths that README and the docs named."""

import importlib

import pytest

from metareg_sm.postestimation import comparison, gosh, heterogeneity, permutation


@pytest.mark.parametrize(
    ("module", "name", "now"),
    [
        ("ranking", "compare_models", comparison.compare_models),
        ("comparison", "LRTest", comparison.LRTest),
        ("frames", "Heterogeneity", heterogeneity.Heterogeneity),
        ("resample", "PermutationTest", permutation.PermutationTest),
        ("resample", "Gosh", gosh.Gosh),
    ],
)
def test_old_paths(module, name, now):
    assert getattr(importlib.import_module(f"metareg_sm.{module}"), name) is now


@pytest.mark.parametrize("module", ["bootstrap", "collinearity", "prediction", "slopes"])
def test_other_old_paths(module):
    assert importlib.import_module(f"metareg_sm.{module}").__doc__ is None


def test_what_never_was():
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("metareg_sm.rankings")
