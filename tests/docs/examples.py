"""Examples of a Markdown page, to be executed from top to bottom."""

from __future__ import annotations

import contextlib
import doctest
import importlib.util
import io
import re
import sys
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any

from attrs import frozen

from tests.docs import commands

SHELL = ("sh", "bash", "console")
"""Languages of blocks of commands."""

EXECUTED = ("python", "py", *SHELL)
"""Languages of blocks that are executed: in one namespace, as a module of their own, as commands."""

_BLOCK = re.compile(r"^```(?P<language>\w+)[^\n]*\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@frozen
class Example:
    """A block that is executed and, where a ``text`` block follows at once, what it prints."""

    line: int
    language: str
    code: str
    output: str | None


def examples_of(page: Path) -> list[Example]:
    """The examples of a page in order.

    >>> import tempfile
    >>> page = Path(tempfile.mkdtemp()) / "page.md"
    >>> _ = page.write_text("```python\\nprint(1)\\n```\\n\\n```text\\n1\\n```\\n")
    >>> examples_of(page)
    [Example(line=2, language='python', code='print(1)\\n', output='1\\n')]
    """
    text = page.read_text(encoding="utf-8")
    blocks = list(_BLOCK.finditer(text))
    found = []
    for block, following in zip_longest(blocks, blocks[1:]):
        if block["language"] not in EXECUTED:
            continue
        output = None
        if following is not None and following["language"] == "text":
            between = text[block.end() : following.start()]
            output = following["text"] if not between.strip() else None
        line = text.count("\n", 0, block.start()) + 2
        found.append(Example(line, block["language"], block["text"], output))
    return found


def run_page(page: Path) -> int:
    """Execute a page's examples in one namespace and compare what they print; how many there were.

    Modules (``py``) are written to the working directory and imported, as functions have to be that other
    processes call; their names join the namespace.

    Raises
    ------
    AssertionError
        With page and line, if an example prints something else than the page says.
    """
    namespace: dict[str, Any] = {"__name__": "__main__"}
    examples = examples_of(page)
    for example in examples:
        with _importing_from_here():
            printed = _execute(example, page, namespace)
        if example.output is not None and not doctest.OutputChecker().check_output(
            example.output, printed, _OPTIONS
        ):
            raise AssertionError(
                f"{page}:{example.line} prints\n{printed}but the page says\n{example.output}"
            )
    return len(examples)


@contextlib.contextmanager
def _importing_from_here() -> Iterator[None]:
    """With the working directory on the path, also for processes that an example starts."""
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        yield
    finally:
        sys.path.remove(here)


def _execute(example: Example, page: Path, namespace: dict[str, Any]) -> str:
    if example.language in SHELL:
        return _execute_commands(example, page)
    if example.language == "py":
        namespace |= _imported(example, page)
        return ""
    printed = io.StringIO()
    # Leading newlines make the line numbers in tracebacks those of the page.
    program = compile("\n" * (example.line - 1) + example.code, str(page), "exec")
    with contextlib.redirect_stdout(printed):
        exec(program, namespace)
    return printed.getvalue()


def _execute_commands(example: Example, page: Path) -> str:
    found = commands.commands_of(example.code)
    try:
        if all(map(commands.is_local, found)):
            return "".join(map(commands.run, found))
        for command in found:
            commands.check(command)
    except Exception as error:
        raise AssertionError(f"{page}:{example.line}: {error}") from error
    return example.output or ""


def _imported(example: Example, page: Path) -> dict[str, Any]:
    name = f"example_{re.sub(r'[^a-z0-9]', '_', page.stem)}_{example.line}"
    source = Path.cwd() / f"{name}.py"
    source.write_text(example.code, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(name, source)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return {key: value for key, value in vars(module).items() if not key.startswith("__")}
