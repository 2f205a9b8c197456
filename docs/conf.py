"""How Sphinx builds these pages: make docs"""

from __future__ import annotations

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx

from forecast import __version__

project = "forecast"
release = __version__
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
exclude_patterns = ["_build", "runs"]
nb_execution_mode = "off"  # The notebook was run before it was stored, and a test runs it again.
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
html_theme = "furo"
html_title = f"forecast {release}"
html_math_renderer = "mathml"
smartquotes = False  # "--target" in a command is two hyphens, not a dash
autodoc_typehints = "description"
autodoc_preserve_defaults = True
copybutton_prompt_text = "$ "  # A copied command has no prompt, and its output is not copied.


def setup(app: Sphinx) -> None:
    """Render mathematics as MathML, which browsers show without a script from the network."""

    def write(translator: nodes.NodeVisitor, node: nodes.Element) -> None:
        display = "block" if isinstance(node, nodes.math_block) else "inline"
        translator.body.append(convert(node.astext(), display=display))
        raise nodes.SkipNode

    app.add_html_math_renderer("mathml", inline_renderers=(write, None), block_renderers=(write, None))
