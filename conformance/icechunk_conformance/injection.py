"""Faults on the way to a storage: by the proxy where it talks to a server, around its hooks where it does
not."""

from __future__ import annotations

import asyncio
import contextlib
import enum
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeAlias
from urllib.parse import quote

from attrs import Factory, define, field

from icechunk_conformance import wire_faults
from icechunk_conformance.expect import Failure
from icechunk_conformance.proxy import Action, Exchange, FaultProxy, WireFault
from icechunk_conformance.wire import Message
from icechunk_core.contract import Storage
from icechunk_core.errors import StorageError, Timeout, Unavailable

__all__ = ["Faulty", "HookFaults", "Moment", "Pick", "WireFaults", "about", "is_write"]

Meanwhile: TypeAlias = "Callable[[], Awaitable[Any]]"


class Moment(enum.Enum):
    """Where on its way a conditional write is struck."""

    REQUEST_LOST = "the request never arrives"
    ANSWER_LOST = "it is carried out and its answer is lost"
    ANSWER_IS_ERROR = "it is carried out and answered with an error"
    REPEATED = "it is carried out and repeated on the way; the repetition's answer counts"
    LATE = "it is carried out after the client gave up"


Pick: TypeAlias = "Moment | Callable[[], Moment | None]"
"""A moment, or a function that picks one each time (``None`` lets the write pass)."""


class Faulty(Protocol):
    """A client whose requests can be struck.

    Attributes
    ----------
    client
        The storage by way of the faults, confined to the check's place.
    """

    client: Storage

    def strike(
        self,
        moment: Pick,
        key: str,
        *,
        times: int | None = 1,
        meanwhile: Meanwhile | None = None,
        reads: bool = False,
    ) -> None:
        """Script a fault for writes of a key, or for its reads."""

    async def release(self) -> None:
        """Let arrive what was held back."""

    def verify_struck(self) -> None:
        """Fail if a scripted fault did not happen: then the check has shown nothing."""

    def heal(self) -> None:
        """No faults any more."""


# --- around the hooks ----------------------------------------------------------


@define(eq=False)
class _HookFault:
    moment: Pick
    key: str
    times: int | None
    meanwhile: Meanwhile | None
    reads: bool
    struck: int = 0


class HookFaults:
    """Faults around the hooks of a storage that has no transport to break."""

    def __init__(self, storage: Storage) -> None:
        self._faults: list[_HookFault] = []
        self._all: list[_HookFault] = []
        self._held: list[Callable[[], Awaitable[Any]]] = []
        put_hook = storage.put_hook

        async def put(key: str, *arguments: Any) -> Any:
            fault = self._take(key, reads=False)
            if fault is None:
                return await put_hook(key, *arguments)
            return await self._strike(fault, lambda: put_hook(key, *arguments))

        get_range, head = self._reading(storage.get_range_hook), self._reading(storage.hook("head"))
        self.client = storage.with_hooks(None, put=put, get_range=get_range, head=head)

    def _reading(self, hook: Callable[..., Any]) -> Callable[..., Any]:
        async def read(key: str, *arguments: Any) -> Any:
            if self._take(key, reads=True) is not None:
                raise Unavailable("no answer (injected)", key=key)
            return await hook(key, *arguments)

        return read

    def _take(self, key: str, *, reads: bool) -> _HookFault | None:
        for fault in self._faults:
            more = fault.times is None or fault.struck < fault.times
            if more and fault.key == key and fault.reads is reads:
                fault.struck += 1
                return fault
        return None

    async def _strike(self, fault: _HookFault, perform: Callable[[], Awaitable[Any]]) -> Any:
        moment = fault.moment if isinstance(fault.moment, Moment) else fault.moment()
        if moment is None:
            return await perform()
        if moment is Moment.REQUEST_LOST:
            raise Unavailable("the connection was refused (injected)", key=fault.key)
        if moment is Moment.LATE:
            self._held.append(perform)
            raise Timeout("no answer (injected)", key=fault.key)
        # Its answer is lost, whatever it was.
        with contextlib.suppress(StorageError):
            await perform()
        if fault.meanwhile is not None:
            await fault.meanwhile()
        if moment is Moment.REPEATED:
            return await perform()
        if moment is Moment.ANSWER_IS_ERROR:
            raise Unavailable("the server answered with an error (injected)", key=fault.key)
        raise Timeout("no answer (injected)", key=fault.key)

    def strike(
        self,
        moment: Pick,
        key: str,
        *,
        times: int | None = 1,
        meanwhile: Meanwhile | None = None,
        reads: bool = False,
    ) -> None:
        fault = _HookFault(moment, key, times, meanwhile, reads)
        self._faults.append(fault)
        self._all.append(fault)

    async def release(self) -> None:
        held, self._held = self._held, []
        for perform in held:
            try:
                await perform()
            except StorageError:
                continue

    def verify_struck(self) -> None:
        for fault in self._all:
            if not fault.struck:
                raise Failure(f"the fault did not happen, so nothing was shown: {_text(fault.moment)}")

    def heal(self) -> None:
        self._faults.clear()


def _text(moment: Pick) -> str:
    return moment.value if isinstance(moment, Moment) else "faults at random"


# --- on the wire ---------------------------------------------------------------

_ACTIONS: dict[Moment, Action] = {
    Moment.REQUEST_LOST: wire_faults.request_lost,
    Moment.ANSWER_LOST: wire_faults.answer_lost,
    Moment.ANSWER_IS_ERROR: wire_faults.answer_is_error(503),
    Moment.REPEATED: wire_faults.repeated,
    Moment.LATE: wire_faults.arrives_late,
}


def is_write(request: Message) -> bool:
    """Whether a request writes an object (or deletes several)."""
    return request.method in ("PUT", "POST", "PATCH")


def about(full_key: str) -> Callable[[Message], bool]:
    """Whether a request is about a key: in its target or, as in multi-part forms, in its body's beginning."""
    forms = {full_key, quote(full_key, safe="/"), quote(full_key, safe="")}

    def matches(request: Message) -> bool:
        target = request.target
        if any(form in target for form in forms):
            return True
        return request.method == "POST" and full_key.encode() in request.body[:4096]

    return matches


@define(eq=False)
class WireFaults:
    """Faults by the proxy between a storage and its server.

    Attributes
    ----------
    client
        The storage by way of the proxy, confined to the check's place.
    proxy
        For faults that are about the transport itself.
    prefix
        The check's place, in full.
    """

    client: Storage
    proxy: FaultProxy
    prefix: str
    timeout: float
    _faults: list[WireFault] = Factory(list)
    _described: list[str] = field(factory=list)

    def strike(
        self,
        moment: Pick,
        key: str,
        *,
        times: int | None = 1,
        meanwhile: Meanwhile | None = None,
        reads: bool = False,
    ) -> None:
        concerns = about(self.prefix + key)

        def matches(request: Message) -> bool:
            if reads:
                return request.method in ("GET", "HEAD") and concerns(request)
            return is_write(request) and concerns(request)

        async def picked(exchange: Exchange) -> None:
            now = moment if isinstance(moment, Moment) else moment()
            await (_ACTIONS[now] if now is not None else wire_faults.passed_on)(exchange)

        self.inject(picked, matches, times=times, meanwhile=meanwhile, what=_text(moment))

    def inject(
        self,
        action: Action,
        matches: Callable[[Message], bool],
        *,
        times: int | None = 1,
        meanwhile: Meanwhile | None = None,
        what: str = "",
    ) -> WireFault:
        """Script any fault of the transport."""
        loop = asyncio.get_running_loop()

        def happen() -> None:
            assert meanwhile is not None
            asyncio.run_coroutine_threadsafe(_coroutine(meanwhile), loop).result(self.timeout)

        fault = WireFault(action, matches, times, happen if meanwhile is not None else None)
        self._faults.append(self.proxy.strike(fault))
        self._described.append(what or (action.__doc__ or "").strip())
        return fault

    async def release(self) -> None:
        await self.proxy.release()

    def verify_struck(self) -> None:
        for fault, what in zip(self._faults, self._described, strict=True):
            if not fault.struck:
                raise Failure(f"the fault did not happen, so nothing was shown: {what}")

    def heal(self) -> None:
        self.proxy.heal()


async def _coroutine(meanwhile: Meanwhile) -> None:
    await meanwhile()
