"""What a repository asks of a storage's client, and the options of backends that answer to it.

A backend's configuration class says which of its options does what was asked: a field with
``metadata={"tuned_by": "attempts"}`` takes the value of `Tuning.attempts`. ``"at_least"`` and ``"at_most"``
beside it are the service's bounds, to which a value is brought.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import attrs
from attrs import frozen

from icechunk_core.errors import Timeout

__all__ = ["Tuning", "tuned_options", "within"]

T = TypeVar("T")


@frozen
class Tuning:
    """What is asked of a storage's client; ``None`` leaves it to the client.

    Attributes
    ----------
    attempts
        Times that a request is sent, the first one included.
    first_wait, longest_wait
        Seconds: ceilings of the waits between them; see `RetryPolicy`.
    connect_timeout, read_timeout
        Seconds to wait for a connection, and for the next bytes of an answer.
    attempt_timeout, total_timeout
        Seconds for a request with its answer, and for a request with its repetitions.
    part_size, concurrent_parts
        Bytes of one request of a large object, and how many of them are under way at a time.
    multipart_threshold
        Objects of more bytes are uploaded in parts.
    """

    attempts: int | None = None
    first_wait: float | None = None
    longest_wait: float | None = None
    connect_timeout: float | None = None
    read_timeout: float | None = None
    attempt_timeout: float | None = None
    total_timeout: float | None = None
    part_size: int | None = None
    concurrent_parts: int | None = None
    multipart_threshold: int | None = None

    def asked(self) -> dict[str, float]:
        """What is asked for, by name.

        >>> Tuning(attempts=3).asked()
        {'attempts': 3}
        """
        return {name: value for name, value in attrs.asdict(self).items() if value is not None}


def tuned_options(config: Any, tuning: Tuning) -> tuple[dict[str, float], frozenset[str]]:
    """Options of a configuration that do what is asked, and the names of what none of its options does.

    An option that was given, so that it has another value than its default, stays as it is: who wrote
    it into the storage's URL meant this storage.

    Parameters
    ----------
    config
        Configuration of a backend, or ``None`` where it was made in code.
    """
    asked = tuning.asked()
    changes: dict[str, float] = {}
    heard: set[str] = set()
    for each in attrs.fields(type(config)) if attrs.has(type(config)) else ():
        name = each.metadata.get("tuned_by")
        if name not in asked:
            continue
        heard.add(name)
        if getattr(config, each.name) == each.default:
            changes[each.name] = _within_bounds(asked[name], each.metadata)
    return changes, frozenset(asked.keys() - heard)


def _within_bounds(value: float, metadata: Any) -> float:
    least, most = metadata.get("at_least"), metadata.get("at_most")
    value = value if least is None else max(value, least)
    return value if most is None else min(value, most)


async def within(seconds: float | None, work: Callable[[], Awaitable[T]], key: str | None = None) -> T:
    """The result of some work, if it takes no longer than it may.

    Parameters
    ----------
    seconds
        How long it may take; ``None`` for as long as it likes.

    Raises
    ------
    Timeout
        It took longer, and was cancelled. Whether a write happened is not known then.
    """
    if seconds is None:
        return await work()
    try:
        async with asyncio.timeout(seconds) as limit:
            return await work()
    except TimeoutError as error:
        if not limit.expired():
            raise
        about = "a request" if key is None else f"object {key!r}: the request"
        raise Timeout(
            f"{about} took more than the {seconds:g} s that it may take with its repetitions; "
            "repeat, or allow more time",
            key=key,
        ) from error
