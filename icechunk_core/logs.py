"""Logs, on Python's own `logging`: the loggers are ``icechunk_core`` and those below it.

There are messages about what happens seldom or lasts (``info``: commits, rebases, expiry, garbage
collection; ``debug``: opened storages and repositories, loaded plugins) and about what should not
happen (``warning``: lost answers of a storage, objects that cannot be deleted, unknown outcomes).
They name branches, snapshots and kinds of errors, and no secrets. Reading and writing chunks logs
nothing. A program that configures `logging` itself needs nothing from here. These functions are for
those who want to see the library's messages quickly, filtered the way Icechunk's users know.
"""

from __future__ import annotations

import logging
import os
import sys

from icechunk_core.errors import InvalidInputError

__all__ = ["initialize_logs", "set_logs_filter", "shutdown_telemetry"]

TRACE = 5
"""Level of messages that are more detailed than debugging ones."""

_ROOT = "icechunk_core"
_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_LEVELS = {
    "trace": TRACE,
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "error": logging.ERROR,
    "off": logging.CRITICAL + 1,
}

_handler: logging.Handler | None = None
_filtered: set[str] = set()


def initialize_logs() -> None:
    """Write the library's messages to the terminal, filtered by the variable ``ICECHUNK_LOG``.

    They go to stderr, or to stdout if ``ICECHUNK_LOG_TO_STDOUT`` is set. Nothing happens when
    it was done before. Importing the package does it if ``ICECHUNK_LOG`` is set.
    """
    global _handler
    if _handler is None:
        stream = sys.stdout if "ICECHUNK_LOG_TO_STDOUT" in os.environ else sys.stderr
        _handler = logging.StreamHandler(stream)
        _handler.setFormatter(logging.Formatter(_FORMAT))
        logging.getLogger(_ROOT).addHandler(_handler)
    set_logs_filter(None)


def set_logs_filter(log_filter_directive: str | None) -> None:
    """Choose which messages are logged.

    Parameters
    ----------
    log_filter_directive
        Levels (``trace``, ``debug``, ``info``, ``warn``, ``error``, ``off``), for everything or for
        one module, separated by commas: ``"icechunk_core.session=debug,warn"``. The module
        ``icechunk`` is another name of ``icechunk_core``. ``None`` reads it from ``ICECHUNK_LOG``,
        and without that variable takes ``warn``.

    Raises
    ------
    InvalidInputError
        If a level is not known; nothing is changed then.

    >>> set_logs_filter("icechunk_core.session=debug,warn")
    >>> logging.getLogger("icechunk_core.session").level == logging.DEBUG
    True
    >>> set_logs_filter("warn")
    """
    text = os.environ.get("ICECHUNK_LOG", "warn") if log_filter_directive is None else log_filter_directive
    levels = dict(_directive(part) for part in text.split(",") if part.strip())
    levels.setdefault(_ROOT, logging.WARNING)
    for name in _filtered - set(levels):
        logging.getLogger(name).setLevel(logging.NOTSET)
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
    _filtered.clear()
    _filtered.update(levels)


def _directive(text: str) -> tuple[str, int]:
    name, _, level = text.strip().rpartition("=")
    number = _LEVELS.get(level.strip().lower())
    if number is None:
        raise InvalidInputError(f"{level!r} is not a level of logs; use one of {', '.join(_LEVELS)}")
    name = name.strip().replace("::", ".") or _ROOT
    if name == "icechunk" or name.startswith("icechunk."):
        name = _ROOT + name.removeprefix("icechunk")
    return name, number


def shutdown_telemetry() -> None:
    """Write out and stop what `initialize_logs` started; nothing happens when it was not called.

    Traces are not exported by this library, so that there is nothing else to stop.
    """
    global _handler
    if _handler is not None:
        _handler.flush()
        logging.getLogger(_ROOT).removeHandler(_handler)
        _handler = None
