"""What importing the package costs."""


class Import:
    """A fresh interpreter for each."""

    timeout = 120

    def timeraw_metareg_sm(self) -> str:
        """The package."""
        return "import metareg_sm"

    def timeraw_statsmodels_formula_api(self) -> str:
        """The part of it that is statsmodels."""
        return "import statsmodels.formula.api"
