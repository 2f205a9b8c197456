"""How Sphinx builds these pages: make docs"""

from __future__ import annotations

from forecast import __version__

project = "forecast"
release = __version__
extensions = ["myst_parser", "sphinx.ext.mathjax"]
exclude_patterns = ["_build"]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
html_theme = "furo"
html_title = f"forecast {release}"
smartquotes = False  # "--target" in a command is two hyphens, not a dash
