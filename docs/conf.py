"""Sphinx configuration. Examples run while the docs are built; none of their output is stored."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
# this copy of the package, and the reference values beside it
sys.path[:0] = [str(HERE / "_ext"), str(HERE.parent)]

from metareg_sm import __version__  # noqa: E402 (the path comes first)

project = "metareg_sm"
author = "the metareg_sm developers"
copyright = author
version = release = __version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "IPython.sphinxext.ipython_directive",
    "sphinx_copybutton",
    "myst_parser",
    "sphinx_gallery.gen_gallery",
    "built",
    "pages",
]
html_math_renderer = "mathml"
# what is not marked as code is not coloured
highlight_language = "none"
exclude_patterns = ["_build", "gallery", "start-here.ipynb"]
templates_path = ["_templates"]

autosummary_generate = True
autodoc_member_order = "bysource"
autodoc_typehints = "none"
numpydoc_show_class_members = False

# an example that raises, or warns without saying so, ends the build
ipython_warning_is_error = True
ipython_savefig_dir = "generated/savefig"
ipython_execlines = [
    # pages read files that stand beside them
    f"import os; os.chdir({str(HERE)!r})",
    "import numpy as np",
    "import pandas as pd",
    "pd.options.display.width = 88",
    "pd.options.display.max_columns = 20",
    "np.set_printoptions(linewidth=88)",
    # figures of all pages stay open until the end
    "import matplotlib; matplotlib.rcParams['figure.max_open_warning'] = 0",
]
copybutton_prompt_text = r"In \[\d*\]: |\$ |>>> "
copybutton_prompt_is_regexp = True

html_theme = "pydata_sphinx_theme"
html_title = f"metareg_sm {release}"
html_theme_options = {"show_prev_next": True, "secondary_sidebar_items": ["page-toc"]}
# without a sidebar that most pages leave empty, a summary of 80 characters fits at 1300 pixels
html_sidebars = {"**": []}
html_static_path = ["_static"]
html_css_files = ["pages.css"]
html_copy_source = False
html_show_sourcelink = False

# CONTRIBUTING.md and CHANGELOG.md are pages, too
myst_heading_anchors = 3

sphinx_gallery_conf = {
    "examples_dirs": "gallery",
    "gallery_dirs": "generated/gallery",
    "filename_pattern": r"\.py$",
    "download_all_examples": False,
    "remove_config_comments": True,
    "show_memory": False,
    "write_computation_times": False,
    "abort_on_example_error": True,
    "within_subsection_order": "FileNameSortKey",
}
