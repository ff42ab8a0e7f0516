"""Sphinx configuration. Examples run while the docs are built; none of their output is stored."""

import sys
from pathlib import Path

from metareg_sm import __version__

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "metareg_sm"
author = "the metareg_sm developers"
copyright = author
version = release = __version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "numpydoc",
    "IPython.sphinxext.ipython_console_highlighting",
    "IPython.sphinxext.ipython_directive",
    "sphinx_copybutton",
    "built",
]
exclude_patterns = ["_build"]
templates_path = ["_templates"]

autosummary_generate = True
autodoc_member_order = "bysource"
autodoc_typehints = "none"
numpydoc_show_class_members = False

# an example that raises, or warns without saying so, ends the build
ipython_warning_is_error = True
ipython_savefig_dir = "generated/savefig"
ipython_execlines = [
    "import numpy as np",
    "import pandas as pd",
    "pd.options.display.width = 88",
    "pd.options.display.max_columns = 20",
    "np.set_printoptions(linewidth=88)",
]
copybutton_prompt_text = r"In \[\d*\]: |\$ |>>> "
copybutton_prompt_is_regexp = True

html_theme = "pydata_sphinx_theme"
html_title = f"metareg_sm {release}"
html_theme_options = {"show_prev_next": True, "secondary_sidebar_items": ["page-toc"]}
html_copy_source = False
html_show_sourcelink = False
