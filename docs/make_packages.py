"""Write the drawing of the package imports and the list of modules in docs/code.md: python -m docs.make_packages"""

from __future__ import annotations

import ast
import re
from pathlib import Path

from tests.test_layout import MODULES, PACKAGE, PACKAGES, arrows, package_of

PAGE = Path(__file__).with_name("code.md")
GENERATED = re.compile(r"(?<=<!-- begin: docs/make_packages.py -->\n).*(?=<!-- end -->)", re.DOTALL)


def page() -> str:
    """Return the text of docs/code.md with its generated part as the code has it."""
    text = f"\n{draw_imports()}\n## Modules\n\n{list_modules()}\n"
    return GENERATED.sub(lambda _: text, PAGE.read_text(encoding="utf-8"))


def draw_imports() -> str:
    """Draw which package imports which: a row and a column for each, in import order."""
    edges = {(package_of(importer), package_of(imported)) for importer, imported in arrows()}
    header = " " * 15 + "".join(f"{number:3}" for number in range(1, len(PACKAGES) + 1))
    rows = []
    for number, importer in enumerate(PACKAGES, 1):
        marks = ["■" if imported == importer else "●" if (importer, imported) in edges else "·" for imported in PACKAGES]
        rows.append(f"{number:2} {importer:12}" + "".join(f"  {mark}" for mark in marks))
    return "\n".join(["```text", header, *rows, "```", ""])


def list_modules() -> str:
    """Return a table of each package and module with the first line of its docstring."""
    lines = ["| module | content |", "| --- | --- |"]
    for name in sorted(MODULES, key=lambda name: (PACKAGES.index(package_of(name)), name)):
        path = name.replace(".", "/")
        file, style = (f"{path}/", "**") if (PACKAGE / path).is_dir() else (f"{path}.py", "")
        summary = (ast.get_docstring(MODULES[name]) or "").partition("\n")[0].replace("|", "\\|")
        lines.append(f"| {style}`{file}`{style} | {summary} |")
    return "\n".join(lines)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
