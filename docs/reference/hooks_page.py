"""Writes `hooks/` from the specifications of the hooks: ``python docs/reference/hooks_page.py``."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from icechunk_conformance.hooks import checks_of
from icechunk_conformance.registry import all_checks
from icechunk_core.contract import Capabilities, DeclarationHooks, OperationHooks
from icechunk_core.contract.binding import OPTIONAL_HOOKS

FOLDER = Path(__file__).with_name("hooks")
SPECIFICATIONS = {
    name: function
    for owner in (DeclarationHooks, OperationHooks)
    for name, function in vars(owner).items()
    if inspect.isfunction(function)
}
DECLARATIONS = [name for name in SPECIFICATIONS if name in vars(DeclarationHooks)]
CAPABILITIES: Mapping[str, str] = {
    "get_range": "suffix_range may_suspend",
    "put": "create update atomicity metadata unique_versions durable read_only key_space max_object_size",
    "list": "list ordered_list",
    "head": "metadata",
    "delete": "read_only",
    "copy": "copy",
    "sync": "durable",
    "take_turn": "update",
    "capabilities": "create update atomicity list ordered_list metadata suffix_range copy may_suspend "
    "durable fork_safe read_only unique_versions key_space max_object_size",
}
"""The capabilities that a hook's promises depend on."""

SECTIONS = {"Parameters": "Arguments", "Returns": "Returns", "Raises": "Errors", "Examples": "Example"}
FURTHER = {
    "icechunk_backends": "[Write a backend](../../how-to/write-a-backend.md)",
    "icechunk_wrappers": "[Wrap a storage](../../how-to/wrap-a-storage.md)",
    "icechunk_wrap_storage": "[Wrap a storage](../../how-to/wrap-a-storage.md)",
    "put": "[Outcomes of a commit](../../explanation/commit-outcome.md)",
    "sync": "[Durability](../../explanation/durability.md)",
    "take_turn": "[Commits take turns](../../decisions/0014-commits-take-turns.md)",
}

INDEX = """\
# Hooks: what a plugin implements

A plugin is a module with *declaration hooks*; the factory of a backend makes an object with *operation
hooks*. All are marked `@hookimpl` (`icechunk_core.contract.hookimpl`). Each page says what a hook promises,
and which checks of the [conformance suite](../conformance.md) prove it.

Names and arguments are checked when a storage is opened, and a mistake is an error that names plugin, hook
and mend. An implementation may leave out arguments that it has no use for. It may not rename them or give
them defaults.

Keys are text, `/`-separated, without empty, `.` or `..` segments (`icechunk_core.contract.keys.check_key`);
whatever else a backend cannot hold is `InvalidKey`. Operation hooks raise the
[errors of a storage](../errors.md#errors-of-a-storage) and no others. Any of them may raise `Closed`,
`Unavailable`, `Timeout`, `RateLimited`, `PermissionDenied` and `Unauthenticated`.

These pages are written by `docs/reference/hooks_page.py` from `icechunk_core/contract/hookspecs.py`.
"""


def pages() -> dict[str, str]:
    """All pages, by file name."""
    found = {f"{name}.md": page(name) for name in SPECIFICATIONS}
    rows = [INDEX]
    for title, names in (
        ("Declaration hooks", DECLARATIONS),
        ("Operation hooks", [name for name in SPECIFICATIONS if name not in DECLARATIONS]),
    ):
        rows += [f"## {title}\n", "| hook | |\n|---|---|"]
        rows += [f"| [`{name}`]({name}.md){_optional(name)} | {_summary(name)} |" for name in names]
        rows.append("")
    found["index.md"] = "\n".join(rows)
    return found


def page(name: str) -> str:
    """The page of a hook, as Markdown."""
    promise, sections = _parts(SPECIFICATIONS[name])
    lines = [f"# {name}", "", f"```text\n{_signature(name)}\n```", "", _text(promise), ""]
    for section, title in SECTIONS.items():
        if section == "Examples":
            lines += _capabilities(name) + _checks(name)
        if section in sections:
            lines += [f"## {title}", "", *_rendered(section, sections[section]), ""]
    if name in FURTHER:
        lines += [f"More: {FURTHER[name]}.", ""]
    return "\n".join(lines)


def _parts(function: Any) -> tuple[str, dict[str, str]]:
    """What stands before the sections of a docstring, and each section."""
    promise, *rest = re.split(r"^(\w+)\n-+\n", inspect.getdoc(function) or "", flags=re.MULTILINE)
    return promise.strip(), dict(zip(rest[::2], (each.rstrip() for each in rest[1::2]), strict=True))


def _signature(name: str) -> str:
    function = SPECIFICATIONS[name]
    kind = "async def" if inspect.iscoroutinefunction(function) or name == "list" else "def"
    signature = inspect.signature(function)
    parameters = [
        each.name if each.annotation is each.empty else f"{each.name}: {each.annotation}"
        for each in signature.parameters.values()
        if name not in DECLARATIONS or each.name != "self"
    ]
    line = f"{kind} {name}({', '.join(parameters)}) -> {signature.return_annotation}"
    if len(line) <= 100:
        return line
    inside = "".join(f"    {each},\n" for each in parameters)
    return f"{kind} {name}(\n{inside}) -> {signature.return_annotation}"


def _optional(name: str) -> str:
    return " (optional)" if name in (*OPTIONAL_HOOKS, "icechunk_wrap_storage") else ""


def _summary(name: str) -> str:
    return _text((inspect.getdoc(SPECIFICATIONS[name]) or "").split("\n\n")[0])


def _text(text: str) -> str:
    """Text of a docstring as Markdown: paragraphs in one line, names as code."""
    paragraphs = (" ".join(each.split()) for each in text.split("\n\n"))
    return re.sub(r"``?([^`]+)``?", r"`\1`", "\n\n".join(paragraphs))


def _rendered(section: str, text: str) -> Iterator[str]:
    if section == "Examples":
        code = re.sub(r"^(>>>|\.\.\.) ?", "", text, flags=re.MULTILINE)
        code = re.sub(r"^((?!@)\S.*|    .*|\))\n(?=class |def |@)", r"\1\n\n", code, flags=re.MULTILINE)
        yield f"```py3\n{code}\n```"
        return
    yield "| | |\n|---|---|"
    for entry in re.split(r"\n(?=\S)", text):
        names, _, meaning = entry.partition("\n")
        named = ", ".join(f"`{name.strip()}`" for name in names.split(","))
        yield f"| {named} | {_text(inspect.cleandoc(meaning))} |"


def _capabilities(name: str) -> Iterator[str] | list[str]:
    named = CAPABILITIES.get(name, "").split()
    if not named:
        return []
    told = _meanings()
    return [
        "## Capabilities",
        "",
        "| | |\n|---|---|",
        *(f"| `{each}` | {told[each]} |" for each in named),
        "",
    ]


def _meanings() -> dict[str, str]:
    _, sections = _parts(Capabilities)
    found: dict[str, str] = {}
    for entry in re.split(r"\n(?=\S)", sections["Attributes"]):
        names, _, meaning = entry.partition("\n")
        for each in names.split(","):
            found[each.strip()] = _text(inspect.cleandoc(meaning))
    return found


def _checks(name: str) -> list[str]:
    titles = {check.id: check.title for check in all_checks()}
    rows = [f"| [{id}](../conformance.md#{id.lower()}) | {titles[id]} |" for id in checks_of(name)]
    return ["## Checks that prove it", "", "| | |\n|---|---|", *rows, ""]


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for file, text in pages().items():
        (FOLDER / file).write_text(text, encoding="utf-8")
