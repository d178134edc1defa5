"""Plots, for who has matplotlib."""

from __future__ import annotations

from typing import Any

from icechunk_core.errors import ErrorKind, InvalidInputError

__all__ = ["new_axes"]


def new_axes() -> Any:
    """Axes of a new figure.

    Raises
    ------
    InvalidInputError
        If matplotlib is not installed.
    """
    try:
        from matplotlib import pyplot
    except ImportError as error:
        raise InvalidInputError(
            "plots need matplotlib: pip install matplotlib. Without it the value itself shows a drawing in "
            "notebooks, and as text when it is printed",
            kind=ErrorKind.NOT_ALLOWED,
        ) from error
    return pyplot.subplots(layout="constrained")[1]
