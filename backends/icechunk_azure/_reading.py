"""Byte ranges by the contract's rules, from requests as the service answers them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from icechunk_azure._parallel import in_parallel
from icechunk_azure._wire import Got, Wire
from icechunk_core.contract import ByteRange, Range, Suffix, resolve_range
from icechunk_core.contract.errors import Unavailable, VersionMismatch

__all__ = ["Reader", "Run"]

T = TypeVar("T")

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
            got = await self._suffix(name, key, byte_range, etag)
        elif isinstance(byte_range, Range) and byte_range.end - byte_range.start > 2 * self._part_size:
            got = await self._large(name, key, byte_range, etag)
        else:
            end = byte_range.end if isinstance(byte_range, Range) else None
            span = (byte_range.start if isinstance(byte_range, Range) else byte_range.offset, end)
            got = await self._run(lambda wire: wire.get(name, key, span, etag))
        # Azurite answers some ranges past the end with nothing.
        start, end = resolve_range(byte_range, got.facts.size, key=key)
        if len(got.data) != end - start:
            raise Unavailable(f"object {key!r}: the answer has not the bytes that were asked for", key=key)
        return got

    async def _suffix(self, name: str, key: str, suffix: Suffix, etag: str | None) -> Got:
        """The last bytes. The service has no suffix ranges: it is asked for the size first."""
        facts = await self._run(lambda wire: wire.head(name, key))
        if etag is not None and facts.etag != etag:
            raise VersionMismatch(f"object {key!r} has another version", key=key)
        span = resolve_range(suffix, facts.size, key=key)
        try:
            return await self._run(lambda wire: wire.get(name, key, span, facts.etag))
        except VersionMismatch:
            if etag is not None:
                raise
        # It was replaced meanwhile; one request for all of it is sure to be of one version.
        got = await self._run(lambda wire: wire.get(name, key, None, None))
        start, end = resolve_range(suffix, got.facts.size, key=key)
        return Got(memoryview(got.data)[start:end], got.facts)

    async def _large(self, name: str, key: str, bounds: Range, etag: str | None) -> Got:
        """A large range: in parts at once, or in one request while others keep replacing the object."""
        try:
            return await self._parts(name, key, bounds, etag)
        except VersionMismatch:
            if etag is not None:
                raise
        return await self._run(lambda wire: wire.get(name, key, (bounds.start, bounds.end), None))

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
