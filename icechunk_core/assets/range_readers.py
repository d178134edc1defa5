"""Reading parts of objects: one by one where the storage answers at once, together where it does not.

A request to a server costs the same for one chunk and for a hundred that lie side by
side. So reads that are made in the same turns of an event loop wait for one another, and
those that are close together in one object become one request. Nobody waits for a clock:
the collection ends as soon as a turn of the loop brings no further read.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, TypeAlias

from attrs import define, field

from icechunk_core.assets.later import LATER, Later
from icechunk_core.assets.streams import Bytes, Streams, as_array
from icechunk_core.contract import Buffer, ObjectInfo, Range, Storage
from icechunk_core.drive import LoopFuture, LoopLocal, gather, new_future, next_turn

__all__ = ["CoalescingReader", "DirectReader", "RangeReader", "Request", "Span", "plan_spans"]

_TURNS = 8
"""Turns of the event loop after which a collection ends at the latest."""
_LARGE = 1 << 20
"""Reads of so many bytes are requests of their own, and begin at once."""
_LARGEST_SPAN = 8 << 20
_REQUESTS_AT_ONCE = 64


class RangeReader(Protocol):
    """Reads parts of objects of one storage."""

    async def read(self, key: str, start: int, end: int) -> tuple[Buffer, ObjectInfo]:
        """Bytes ``start`` to ``end``, fewer where the object ends before.

        Raises
        ------
        NotFound, InvalidRange
            If there is no such object, or it ends before ``start``.
        """
        ...

    def at_once(self, key: str, start: int, end: int) -> Bytes | Later:
        """The same bytes as `read` gives, as an array, if nothing has to be waited for."""
        ...

    def on(self, storage: Storage) -> RangeReader:
        """A reader of the same storage as somebody else observes it, who shares what was read ahead."""
        ...


class DirectReader:
    """For storage that never suspends: sequential readers get several chunks from one read."""

    def __init__(self, storage: Storage, streams: Streams) -> None:
        self._get_range = storage.get_range_hook
        self._get_at_once = storage.get_range_at_once
        self._streams = streams
        self._peek = streams.peek

    def on(self, storage: Storage) -> DirectReader:
        """See `RangeReader`."""
        return DirectReader(storage, self._streams)

    async def read(self, key: str, start: int, end: int) -> tuple[Buffer, ObjectInfo]:
        """See `RangeReader`."""
        streams = self._streams
        held = streams.held(key, start, end)
        if held is not None:
            return held
        ahead = streams.ahead(key, start, end)
        data, info = await self._get_range(key, Range(start, end + ahead), None)
        array = as_array(data)
        streams.keep(key, start, array, info, ahead)
        return (data if type(data) is bytes and not ahead else array[: end - start].data), info

    def at_once(self, key: str, start: int, end: int) -> Bytes:
        """See `RangeReader`; here nothing is ever waited for, and no coroutine stands between."""
        held = self._peek(key, start, end)
        if held is not None:
            return held
        streams = self._streams
        ahead = streams.ahead(key, start, end)
        data, info = self._get_at_once(key, Range(start, end + ahead))
        array = as_array(data)
        streams.keep(key, start, array, info, ahead)
        return array[: end - start] if ahead else array


# --- storage that suspends -------------------------------------------------------------


Answer: TypeAlias = tuple[Buffer, ObjectInfo]


class _Abandoned(Exception):
    """Whoever was reading for others was cancelled; they have to read themselves."""


@define(eq=False)
class Request:
    """A read that somebody waits for."""

    key: str
    start: int
    end: int
    answer: LoopFuture[Answer]


@define(eq=False)
class Span:
    """A request to the storage, for the sake of several reads."""

    key: str
    start: int
    end: int
    requests: list[Request]
    wasted: int = 0


@define(eq=False)
class _Collection:
    """The reads of one event loop: those not yet sent, and those under way."""

    requests: list[Request] = field(factory=list)
    open: bool = False
    spans: dict[str, list[Span]] = field(factory=dict)

    def join(self, request: Request) -> bool:
        """Let a request that is under way answer this one, too, if it can."""
        for span in self.spans.get(request.key, ()):
            if span.start <= request.start and request.end <= span.end:
                span.requests.append(request)
                return True
        return False

    def sent(self, spans: Iterable[Span]) -> None:
        for span in spans:
            self.spans.setdefault(span.key, []).append(span)

    def ended(self, span: Span) -> None:
        left = self.spans.get(span.key, [])
        if span in left:
            left.remove(span)
        if not left:
            self.spans.pop(span.key, None)


def plan_spans(requests: Iterable[Request], over_read: int, largest: int = _LARGEST_SPAN) -> list[Span]:
    """The fewest spans that have all requests, each with at most ``over_read`` bytes that nobody wants."""
    spans: list[Span] = []
    for request in sorted(requests, key=lambda request: (request.key, request.start, request.end)):
        last = spans[-1] if spans else None
        if last is not None and last.key == request.key:
            wasted = last.wasted + max(0, request.start - last.end)
            end = max(last.end, request.end)
            if wasted <= over_read and end - last.start <= largest:
                last.end, last.wasted = end, wasted
                last.requests.append(request)
                continue
        spans.append(Span(request.key, request.start, request.end, [request]))
    return spans


class CoalescingReader:
    """For storage that suspends: reads at the same time become few requests.

    Parameters
    ----------
    over_read
        Bytes that one request may fetch in vain between those that were asked for.
    joins
        Whether a read may be answered by a request that began before it: not where objects change.
    """

    def __init__(self, storage: Storage, streams: Streams, over_read: int, *, joins: bool = True) -> None:
        self._storage = storage
        self._joins = joins
        self._streams = streams
        self._over_read = over_read
        self._collections: LoopLocal[_Collection] = LoopLocal(_Collection)

    def on(self, storage: Storage) -> CoalescingReader:
        """See `RangeReader`."""
        return CoalescingReader(storage, self._streams, self._over_read, joins=self._joins)

    def at_once(self, key: str, start: int, end: int) -> Bytes | Later:
        """See `RangeReader`: what was read ahead."""
        held = self._streams.peek(key, start, end)
        return LATER if held is None else held

    async def read(self, key: str, start: int, end: int) -> Answer:
        """See `RangeReader`."""
        while True:
            held = self._streams.held(key, start, end)
            if held is not None:
                return held
            if end - start >= _LARGE:
                return await self._storage.get_range_hook(key, Range(start, end), None)
            collection = self._collections.get()
            request = Request(key, start, end, new_future())
            if not (self._joins and collection.join(request)):
                collection.requests.append(request)
                if not collection.open:
                    await self._lead(collection, request)
            try:
                return await request.answer
            except _Abandoned:
                continue

    async def _lead(self, collection: _Collection, own: Request) -> None:
        """Collect reads and carry them out, for everybody who waits for one of them."""
        batch: list[Request] = []
        spans: list[Span] = []
        try:
            batch = await _collected(collection)
            spans = plan_spans(batch, self._over_read)
            collection.sent(spans)
            await gather(
                [lambda span=span: self._fetch(collection, span) for span in spans],  # type: ignore[misc]
                may_suspend=True,
                limit=_REQUESTS_AT_ONCE,
            )
        except BaseException:
            if not own.answer.cancel():
                own.answer.exception()  # seen: nobody else is going to look at it
            for span in spans:
                collection.ended(span)
                batch = [*batch, *span.requests]
            for request in batch or _taken(collection):
                if not request.answer.done():
                    request.answer.set_exception(_Abandoned())
            raise

    async def _fetch(self, collection: _Collection, span: Span) -> None:
        start = span.start
        ahead = self._streams.ahead(span.key, start, span.end)
        span.end += ahead
        try:
            data, info = await self._storage.get_range_hook(span.key, Range(start, span.end), None)
        except Exception as error:
            collection.ended(span)
            for request in span.requests:
                if not request.answer.done():
                    request.answer.set_exception(error)
            return
        collection.ended(span)
        self._streams.keep(span.key, start, as_array(data), info, ahead)
        view = memoryview(data).toreadonly()  # several readers may get the same part
        for request in span.requests:
            if not request.answer.done():  # it may have been cancelled
                request.answer.set_result((view[request.start - start : request.end - start], info))


async def _collected(collection: _Collection) -> list[Request]:
    """The reads made until a turn of the loop brings no further one."""
    collection.open = True
    seen = 0
    try:
        for _ in range(_TURNS):
            if len(collection.requests) == seen:
                break
            seen = len(collection.requests)
            await next_turn()
    finally:
        collection.open = False
    return _taken(collection)


def _taken(collection: _Collection) -> list[Request]:
    taken, collection.requests = collection.requests, []
    return taken
