"""How Sphinx builds the pages: `make docs`."""

project = "battles"
author = "battles contributors"
extensions = ["myst_parser"]
html_theme = "furo"
html_title = "battles"
myst_heading_anchors = 3
exclude_patterns = ["_build"]
