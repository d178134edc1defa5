"""List one kind of object in several streams side by side."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from icechunk_core.drive import gather
from icechunk_core.format import base32

__all__ = ["side_by_side"]


async def side_by_side(
    prefix: str, look: Callable[[str], Coroutine[Any, Any, None]], streams: int, *, may_suspend: bool
) -> None:
    """Call ``look`` with prefixes that together cover all objects named by ids below ``prefix``.

    One stream is one prefix. More are parts by the first digit of the id, which are of equal
    size, since ids are random; so many run at a time.
    """
    parts = [prefix] if streams < 2 else [prefix + digit for digit in base32.ALPHABET]
    await gather(
        [lambda part=part: look(part) for part in parts],  # type: ignore[misc]
        may_suspend=may_suspend,
        limit=streams,
    )
