"""Writes `errors.md` from the error classes: ``python docs/reference/errors_page.py``."""

from __future__ import annotations

import inspect
from pathlib import Path

from icechunk_core import errors

PAGE = Path(__file__).with_name("errors.md")

HEAD = """\
# Errors

Every error that icechunk-core raises on purpose is an `IcechunkError`, from `icechunk_core.errors`.
It has a `message` for people, which says what to do next and never holds a secret, and a `kind` for
programs, a code that stays the same. Errors pickle.

This page is written by `docs/reference/errors_page.py` from the classes.
"""
ENGINE = """
## Errors of the engine

These carry the names that Icechunk's users know.
"""
STORAGE = """
## Errors of a storage

What a backend may raise, and nothing else. They are few on purpose: each stands for something that
the caller can do. "Again" tells whether the same call may succeed later, unchanged.
"""
KINDS = """
## Kinds

The codes of the engine's errors; a class that serves several causes carries the one that fits.
"""


def render() -> str:
    """The page as Markdown."""
    family = [value for value in vars(errors).values() if inspect.isclass(value)]
    family = [error for error in family if issubclass(error, errors.IcechunkError)][1:]
    storage = [error for error in family if issubclass(error, errors.StorageError)]
    engine = [error for error in family if error not in storage]
    lines = [HEAD, ENGINE, *_table(engine, "Error", "Is also", "Kind by default", "Meaning")]
    lines += [STORAGE, *_table(storage, "Error", "Is also", "Kind by default", "Again", "Meaning")]
    lines += [KINDS, ", ".join(f"`{kind.value}`" for kind in errors.ErrorKind) + "."]
    return "\n".join(lines) + "\n"


def _table(classes: list[type[errors.IcechunkError]], *columns: str) -> list[str]:
    rows = ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
    for error in classes:
        cells = {
            "Error": f"`{error.__name__}`",
            "Is also": _bases(error),
            "Kind by default": f"`{error.default_kind!s}`",
            "Again": "yes" if getattr(error, "retryable", False) else "",
            "Meaning": _summary(error),
        }
        rows.append("| " + " | ".join(cells[column] for column in columns) + " |")
    return rows


def _bases(error: type[Exception]) -> str:
    plain = {"IcechunkError", "StorageError"} - {error.__name__}
    return ", ".join(f"`{base.__name__}`" for base in error.__bases__ if base.__name__ not in plain)


def _summary(error: type[Exception]) -> str:
    """The docstring's first paragraph, and the second if it is one of prose."""
    text = inspect.cleandoc(error.__doc__ or "").replace("``", "`")
    paragraphs = [" ".join(part.split()) for part in text.split("\n\n")]
    prose = [part for part in paragraphs[:2] if "----" not in part]
    return " ".join(prose)


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
