"""Byte ranges by the contract's rules, from requests as the service answers them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from icechunk_azure._parallel import in_parallel
from icechunk_azure._wire import Got, Wire
from icechunk_core.contract import ByteRange, From, Range, Suffix, resolve_range
from icechunk_core.contract.errors import Unavailable, VersionMismatch

__all__ = ["Reader", "Run"]

T = TypeVar("T")

_ATTEMPTS = 5
"""How often a read in several requests is begun anew because the object was replaced meanwhile."""
_UNKNOWN = 1 << 62
"""Stands for the size of an object that was not asked for it."""


class Run(Protocol):
    """Sends requests with the current identity, repeating them as the retry policy says."""

    def __call__(
        self, request: Callable[[Wire], Awaitable[T]], *, repeatable: bool = True
    ) -> Awaitable[T]: ...


class Reader:
    """Reads blobs; large ranges in several requests at once, all of one version.

    Parameters
    ----------
    part_size, parallel
        Bytes of one request, and requests of one read that are under way at once.
    """

    def __init__(self, run: Run, part_size: int, parallel: int) -> None:
        self._run = run
        self._part_size = part_size
        self._parallel = parallel

    async def read(self, name: str, key: str, byte_range: ByteRange, etag: str | None) -> Got:
        """The bytes of a range, and what is known of the blob.

        Raises
        ------
        InvalidRange, VersionMismatch, NotFound
            As the contract says.
        """
        if byte_range is None:
            return await self._run(lambda wire: wire.get(name, key, None, etag))
        # An impossible range is refused without asking, whatever the object's size.
        resolve_range(byte_range, _UNKNOWN, key=key)
        if isinstance(byte_range, Suffix):
            length = byte_range.length
            return await self._of_one_version(lambda: self._suffix(name, key, length, etag), key, etag)
        if isinstance(byte_range, From):
            span = (byte_range.offset, None)
            return await self._run(lambda wire: wire.get(name, key, span, etag))
        if byte_range.end - byte_range.start > 2 * self._part_size:
            bounds = byte_range
            return await self._of_one_version(lambda: self._parts(name, key, bounds, etag), key, etag)
        bounds = byte_range
        return await self._run(lambda wire: wire.get(name, key, (bounds.start, bounds.end), etag))

    async def _suffix(self, name: str, key: str, length: int, etag: str | None) -> Got:
        """The last bytes. The service has no suffix ranges: it is asked for the size first."""
        facts = await self._run(lambda wire: wire.head(name, key))
        if etag is not None and facts.etag != etag:
            raise VersionMismatch(f"object {key!r} has another version", key=key)
        span = resolve_range(Suffix(length), facts.size, key=key)
        return await self._run(lambda wire: wire.get(name, key, span, facts.etag))

    async def _parts(self, name: str, key: str, bounds: Range, etag: str | None) -> Got:
        size = self._part_size
        start = bounds.start
        first = await self._run(lambda wire: wire.get(name, key, (start, start + size), etag))
        facts = first.facts
        end = min(bounds.end, facts.size)

        def part(begin: int) -> Callable[[], Awaitable[Got]]:
            span = (begin, min(begin + size, end))
            return lambda: self._run(lambda wire: wire.get(name, key, span, facts.etag))

        begins = range(start + size, end, size)
        rest = await in_parallel([part(begin) for begin in begins], self._parallel)
        return Got(b"".join([first.data, *(each.data for each in rest)]), facts)

    async def _of_one_version(self, read: Callable[[], Awaitable[Got]], key: str, etag: str | None) -> Got:
        """A read in several requests; begun anew while others replace the object, if any version will do."""
        for _ in range(_ATTEMPTS):
            try:
                return await read()
            except VersionMismatch:
                if etag is not None:
                    raise
        raise Unavailable(f"object {key!r} was replaced during each of {_ATTEMPTS} reads; repeat", key=key)
