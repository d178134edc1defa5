"""The example notebook runs, and each of its outputs is something to look at."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

from tests.notebooks.markup import check

NOTEBOOK = Path(__file__).parents[2] / "docs" / "examples" / "notebook.ipynb"


def run(source: str, namespace: dict[str, Any]) -> Any:
    """Execute a cell as a notebook does: the value of its last line, if that is an expression."""
    program = ast.parse(source)
    last = program.body[-1]
    if not isinstance(last, ast.Expr):
        exec(compile(program, str(NOTEBOOK), "exec"), namespace)
        return None
    program.body.pop()
    exec(compile(program, str(NOTEBOOK), "exec"), namespace)
    return eval(compile(ast.Expression(last.value), str(NOTEBOOK), "eval"), namespace)


def test_the_example_notebook_runs() -> None:
    """All cells run from top to bottom; what each shows is well-formed HTML, and no output is stored."""
    document = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert (document["nbformat"], document["nbformat_minor"]) == (4, 5)
    cells = [cell for cell in document["cells"] if cell["cell_type"] == "code"]
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for cell in cells:
        assert cell["outputs"] == []
        shown = run("".join(cell["source"]), namespace)
        html = shown._repr_html_()
        check(html)
        assert type(shown).__name__ in html
    assert len(cells) >= 8
