"""Exit codes, for scripts: each tells what kind of thing went wrong."""

from __future__ import annotations

import enum

from icechunk_core.errors import (
    AlreadyExistsError,
    ConflictError,
    IcechunkError,
    InvalidInputError,
    NotFoundError,
    OutcomeUnknown,
    PluginError,
    StorageConfigError,
    StorageError,
)

__all__ = ["ExitCode", "exit_code_of"]


class ExitCode(enum.IntEnum):
    """What a command ends with."""

    OK = 0
    FOUND_PROBLEMS = 1
    """The command did its work and found something: problems, a level that is not reached."""
    USAGE = 2
    """Wrong arguments, or an answer that was needed and not given."""
    NOT_FOUND = 3
    """No such repository, branch, tag, snapshot or node."""
    CONFLICT = 4
    """Somebody else changed the same thing, or it exists already; nothing was changed."""
    STORAGE = 5
    """The storage could not be reached, refused, or is full."""
    UNKNOWN = 6
    """The storage did not say whether a change took place: look before repeating it."""
    FAILED = 7
    """Anything else, such as a damaged object."""


_BY_ERROR: tuple[tuple[type[IcechunkError], ExitCode], ...] = (
    (OutcomeUnknown, ExitCode.UNKNOWN),
    (NotFoundError, ExitCode.NOT_FOUND),
    (ConflictError, ExitCode.CONFLICT),
    (AlreadyExistsError, ExitCode.CONFLICT),
    (PluginError, ExitCode.USAGE),
    (StorageConfigError, ExitCode.USAGE),
    (StorageError, ExitCode.STORAGE),
    (InvalidInputError, ExitCode.USAGE),
)


def exit_code_of(error: IcechunkError) -> ExitCode:
    """The exit code for an error.

    >>> exit_code_of(OutcomeUnknown("who knows")).name
    'UNKNOWN'
    """
    for kind, code in _BY_ERROR:
        if isinstance(error, kind):
            return code
    return ExitCode.FAILED
