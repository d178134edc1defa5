"""What checks are written with: expectations whose failures explain themselves."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from attrs import frozen

from icechunk_core import drive
from icechunk_core.contract import Buffer, ByteRange, ObjectInfo, Storage, Version
from icechunk_core.errors import IcechunkError, NotFound

__all__ = [
    "Failure",
    "NotApplicable",
    "State",
    "collect",
    "keys_of",
    "put_all",
    "read",
    "refused",
    "same",
    "state",
    "unchanged",
    "verify",
]


class Failure(AssertionError):
    """The storage broke a promise."""


class NotApplicable(Exception):
    """The check has nothing to look at in this storage or on this machine; says why."""


def verify(holds: bool, message: str) -> None:
    """Fail with the message unless the promise holds."""
    if not holds:
        raise Failure(message)


def _short(value: object) -> str:
    if isinstance(value, bytes | bytearray | memoryview) and len(value) > 40:
        return f"{len(value)} bytes starting {bytes(value[:24])!r}"
    text = repr(value)
    return text if len(text) <= 300 else text[:300] + "…"


def same(got: object, expected: object, what: str) -> None:
    """Fail unless the two are equal."""
    if got != expected:
        raise Failure(f"{what}: expected {_short(expected)}, got {_short(got)}")


async def refused(operation: Awaitable[object], *errors: type[IcechunkError], what: str) -> IcechunkError:
    """The storage error that the operation must raise."""
    names = " or ".join(error.__name__ for error in errors)
    try:
        result = await operation
    except errors as error:
        return error
    except Exception as error:
        raise Failure(f"{what} must raise {names}; it raised {type(error).__name__}: {error}") from error
    raise Failure(f"{what} must raise {names}; it returned {_short(result)}")


async def read(client: Storage, key: str, byte_range: ByteRange = None) -> bytes:
    """An object's bytes (or a part of them)."""
    data, _ = await client.get_range(key, byte_range)
    return bytes(data)


@frozen
class State:
    """What is visible of an object."""

    data: bytes
    version: Version | None
    metadata: Mapping[str, str]


async def state(client: Storage, key: str) -> State | None:
    """What is there now; ``None`` if nothing is."""
    try:
        data, info = await client.get_range(key)
        head = await client.head(key)
    except NotFound:
        return None
    return State(bytes(data), info.version, dict(head.metadata))


@asynccontextmanager
async def unchanged(client: Storage, key: str, what: str) -> AsyncIterator[None]:
    """Fail if the block leaves the object different: bytes, version, metadata or presence."""
    before = await state(client, key)
    yield
    after = await state(client, key)
    if before is None:
        verify(after is None, f"{what} wrote an object although it was refused")
    else:
        verify(after is not None, f"{what} was refused, yet the object is gone")
        same(after, before, f"{what} was refused, yet the object changed")


async def collect(listing: AsyncIterator[ObjectInfo]) -> list[ObjectInfo]:
    """All entries of a listing."""
    return [info async for info in listing]


async def keys_of(client: Storage, prefix: str = "", start_after: str | None = None) -> list[str]:
    """The keys of a listing, in the order given."""
    return [info.key for info in await collect(client.list(prefix, start_after))]


async def put_all(client: Storage, objects: Iterable[tuple[str, Buffer]], limit: int = 32) -> None:
    """Write many objects, concurrently where the storage can."""
    jobs: list[Callable[[], Any]] = [partial(client.put, key, data) for key, data in objects]
    await drive.gather(jobs, may_suspend=client.may_suspend, limit=limit)
