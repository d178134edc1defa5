"""Make a storage fail on purpose, at exactly the chosen calls.

The dangerous failures of object stores are not the plain ones. A put can land while its
response is lost; another writer can get in between; a request can fail before it is sent.
Each is a `Fault` here:

>>> from icechunk_core.errors import Timeout
>>> lost_response = Fault("put", Timeout("no answer"), key="repo", after=True)
>>> second_read_fails = Fault("get_range", Timeout("no answer"), nth=2)
"""

from __future__ import annotations

import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Any

from attrs import Factory, define, field, frozen

from icechunk_core.contract.storage import Storage
from icechunk_core.contract.wrappers._around import around_each, keys_of

__all__ = ["Call", "Fault", "FaultLog", "with_faults"]


@frozen
class Call:
    """One call of a storage operation.

    Attributes
    ----------
    operation
        ``get_range``, ``put``, ``list``, ``head``, ``delete``, ``copy``, ``sync`` or ``close``.
    keys
        Keys that it is about; of a listing, the prefix.
    arguments
        All arguments, in the contract's order.
    """

    operation: str
    keys: tuple[str, ...]
    arguments: tuple[Any, ...] = field(repr=False)


@frozen
class Fault:
    """What is to go wrong, and when.

    Attributes
    ----------
    operation
        Name of the operation, or ``*`` for any.
    error
        What to raise instead of returning: an error, or a function that makes one. ``None``
        lets the call return as usual, which with ``meanwhile`` only places an event.
    key
        Calls with this key match (``delete``: among others), or those whose `Call` the
        function accepts. ``None`` matches all.
    nth
        The first matching call that is struck, counted from 1.
    times
        How many matching calls in a row are struck; ``None`` is all from the ``nth`` on.
    after
        Strike after the operation has been performed (it landed, its response is lost)
        instead of before it (it never reached the storage).
    meanwhile
        Awaited when the fault strikes, before the error is raised, or before the call goes
        on: what another writer does at that moment.
    """

    operation: str
    error: BaseException | Callable[[], BaseException] | None = None
    key: str | Callable[[Call], bool] | None = None
    nth: int = 1
    times: int | None = 1
    after: bool = False
    meanwhile: Callable[[], Awaitable[None]] | None = None

    def matches(self, call: Call) -> bool:
        """Whether the fault is about this call, whatever its number."""
        if self.operation not in ("*", call.operation):
            return False
        if self.key is None:
            return True
        return self.key(call) if callable(self.key) else self.key in call.keys

    def strikes(self, number: int) -> bool:
        """Whether the matching call of that number is struck."""
        return self.nth <= number and (self.times is None or number < self.nth + self.times)


@define
class FaultLog:
    """What happened at a storage made by `with_faults`.

    Attributes
    ----------
    calls
        Every call, in the order in which they began.
    struck
        Faults in the order in which they struck, each with its call.
    """

    calls: list[Call] = Factory(list)
    struck: list[tuple[Fault, Call]] = Factory(list)
    _faults: list[Fault] = Factory(list)
    _seen: dict[int, int] = Factory(dict)
    _lock: threading.Lock = field(factory=threading.Lock, init=False, repr=False, eq=False)

    def add(self, fault: Fault) -> None:
        """Script one more fault; it counts the calls from now on."""
        with self._lock:
            self._faults.append(fault)

    def clear(self) -> None:
        """Forget all faults; the storage works again. What happened stays on record."""
        with self._lock:
            self._faults.clear()
            self._seen.clear()

    def enter(self, operation: str, arguments: tuple[Any, ...]) -> tuple[Call, list[Fault]]:
        """Record a call; the faults that strike it."""
        call = Call(operation, keys_of(operation, arguments), arguments)
        with self._lock:
            self.calls.append(call)
            struck: list[Fault] = []
            for fault in self._faults:
                if fault.matches(call):
                    number = self._seen[id(fault)] = self._seen.get(id(fault), 0) + 1
                    if fault.strikes(number):
                        struck.append(fault)
        return call, struck

    async def strike(self, call: Call, faults: Sequence[Fault], *, after: bool) -> None:
        """Let the faults of this moment happen."""
        for fault in faults:
            if fault.after is not after:
                continue
            with self._lock:
                self.struck.append((fault, call))
            if fault.meanwhile is not None:
                await fault.meanwhile()
            if fault.error is not None:
                raise fault.error if isinstance(fault.error, BaseException) else fault.error()


def with_faults(storage: Storage, *faults: Fault) -> tuple[Storage, FaultLog]:
    """A storage that fails as scripted, and the log of its calls. It does not pickle.

    Parameters
    ----------
    storage
        What to break.
    faults
        Those of one moment strike in the order given. More can be added to the log later.

    Examples
    --------
    A put whose response is lost: the caller sees an error, the object is there.

    >>> from icechunk_core.drive import run_direct
    >>> from icechunk_core.errors import Timeout
    >>> from icechunk_core.plugins import open_storage
    >>> storage, log = with_faults(open_storage("memory:"), Fault("put", Timeout("lost"), after=True))
    >>> try:
    ...     _ = run_direct(storage.put("a", b"data"))
    ... except Timeout:
    ...     print(run_direct(storage.exists("a")))
    True
    """
    log = FaultLog(faults=list(faults))

    async def around(
        operation: str, arguments: tuple[Any, ...], perform: Callable[[], Awaitable[Any]]
    ) -> Any:
        call, struck = log.enter(operation, arguments)
        if not struck:
            return await perform()
        await log.strike(call, struck, after=False)
        result = await perform()
        await log.strike(call, struck, after=True)
        return result

    async def around_list(
        arguments: tuple[Any, ...], inner: Callable[..., AsyncGenerator[Any, None]]
    ) -> AsyncGenerator[Any, None]:
        call, struck = log.enter("list", arguments)
        await log.strike(call, struck, after=False)
        async with aclosing(inner(*arguments)) as items:
            async for info in items:
                yield info
        await log.strike(call, struck, after=True)

    return around_each(storage, around, around_list=around_list), log
