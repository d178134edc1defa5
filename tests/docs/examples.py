"""Python examples of a Markdown page, to be executed from top to bottom."""

from __future__ import annotations

import contextlib
import doctest
import io
import re
from itertools import zip_longest
from pathlib import Path
from typing import Any

from attrs import frozen

_BLOCK = re.compile(r"^```(?P<language>\w+)[^\n]*\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@frozen
class Example:
    """A ``python`` block and, where a ``text`` block follows at once, what it prints."""

    line: int
    code: str
    output: str | None


def examples_of(page: Path) -> list[Example]:
    """The examples of a page in order.

    >>> import tempfile
    >>> page = Path(tempfile.mkdtemp()) / "page.md"
    >>> _ = page.write_text("```python\\nprint(1)\\n```\\n\\n```text\\n1\\n```\\n")
    >>> examples_of(page)
    [Example(line=2, code='print(1)\\n', output='1\\n')]
    """
    text = page.read_text(encoding="utf-8")
    blocks = list(_BLOCK.finditer(text))
    found = []
    for block, following in zip_longest(blocks, blocks[1:]):
        if block["language"] != "python":
            continue
        output = None
        if following is not None and following["language"] == "text":
            between = text[block.end() : following.start()]
            output = following["text"] if not between.strip() else None
        found.append(Example(text.count("\n", 0, block.start()) + 2, block["text"], output))
    return found


def run_page(page: Path) -> int:
    """Execute a page's examples in one namespace and compare what they print; how many there were.

    Raises
    ------
    AssertionError
        With page and line, if an example prints something else than the page says.
    """
    namespace: dict[str, Any] = {"__name__": "__main__"}
    examples = examples_of(page)
    for example in examples:
        printed = io.StringIO()
        # Leading newlines make the line numbers in tracebacks those of the page.
        program = compile("\n" * (example.line - 1) + example.code, str(page), "exec")
        with contextlib.redirect_stdout(printed):
            exec(program, namespace)
        if example.output is not None and not doctest.OutputChecker().check_output(
            example.output, printed.getvalue(), _OPTIONS
        ):
            raise AssertionError(
                f"{page}:{example.line} prints\n{printed.getvalue()}but the page says\n{example.output}"
            )
    return len(examples)
