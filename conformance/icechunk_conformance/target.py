"""Where the suite works: independent clients of one location, under a random prefix."""

from __future__ import annotations

import asyncio
import contextlib
import pickle
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import attrs
from attrs import frozen

from icechunk_conformance.budget import SMALL, Budget
from icechunk_conformance.endpoints import endpoint_of, large_from, rerouted
from icechunk_conformance.expect import NotApplicable
from icechunk_conformance.injection import Faulty, HookFaults, WireFaults
from icechunk_conformance.prefixed import prefixed
from icechunk_conformance.proxy import FaultProxy
from icechunk_conformance.transport import Transport
from icechunk_conformance.twin import with_twin
from icechunk_conformance.workers import WorkerPool
from icechunk_core.contract import AtomicityScope, Capabilities, Storage
from icechunk_core.errors import IcechunkError, InvalidKey
from icechunk_core.ids import SystemIds

__all__ = ["Location", "Opener", "Target", "UrlOpener"]

_CLEANUP_S, _CLOSE_S = 10.0, 2.0
"""Seconds for removing what a run wrote where checks have less, and for closing a client."""


class Opener(Protocol):
    """Opens the storage under test; a plain function will do."""

    def __call__(self) -> Storage: ...


@frozen
class UrlOpener:
    """Opens a storage by URL, or by the path of a directory, in any process."""

    url: str = attrs.field(repr=False)
    options: dict[str, Any] = attrs.field(factory=dict, repr=False)

    def __call__(self) -> Storage:
        from icechunk_core.storage import as_storage

        return as_storage(self.url, **self.options)


class Location:
    """One location of a storage for a whole run of the suite.

    Clients are independent: each is opened anew, from the storage's pickled
    configuration, or by the opener where it does not pickle. All work under one
    random prefix, which `cleanup` removes.

    Parameters
    ----------
    opener
        Opens the storage. Two calls must reach the same objects, or the storage must pickle.
    secrets
        Texts that must never appear in a ``repr`` or an error. Fields of the storage's
        configuration that are declared with ``repr=False`` are added by themselves.
    budget
        How much work to do.
    workers
        Processes to use, which are left running; without them the location starts its own.
    contenders
        The most that race for one object at a time; less than the budget's for servers whose
        losers wait long.
    twin
        For a read-only storage: opens one that writes to the same place.
    """

    def __init__(
        self,
        opener: Callable[[], Storage],
        *,
        secrets: Sequence[str] = (),
        budget: Budget = SMALL,
        workers: WorkerPool | None = None,
        contenders: int | None = None,
        twin: Callable[[], Storage] | None = None,
    ) -> None:
        self.opener = opener
        self.twin = twin
        if contenders is not None:
            budget = attrs.evolve(
                budget,
                threads=min(budget.threads, contenders),
                processes=min(budget.processes, contenders),
            )
        self.budget = budget
        self.prefix = "conformance-" + SystemIds().object_id().hex() + "/"
        self.written: set[str] = set()
        self.origin = opener()
        self.capabilities: Capabilities = self.origin.capabilities
        if twin is not None:
            # Which keys can be there together is for the one to say that writes them.
            self.capabilities = attrs.evolve(self.capabilities, key_space=twin().capabilities.key_space)
        configs = [self.origin.config, *(config for _, config in self.origin.layers)]
        self.secrets = (*secrets, *(text for config in configs for text in _secret_fields(config)))
        self._pickled = _pickled(self.origin)
        self.endpoint = None if self._pickled is None else endpoint_of(self.origin.config)
        self._workers = workers
        self._own_workers: WorkerPool | None = None
        self._scopes = 0

    @classmethod
    def from_url(
        cls,
        url: str,
        *,
        secrets: Sequence[str] = (),
        budget: Budget = SMALL,
        workers: WorkerPool | None = None,
        contenders: int | None = None,
        twin: str | None = None,
        **options: Any,
    ) -> Location:
        """The storage that a URL names; ``twin`` is the URL of its writable twin."""
        return cls(
            UrlOpener(url, options),
            secrets=secrets,
            budget=budget,
            workers=workers,
            contenders=contenders,
            twin=UrlOpener(twin) if twin is not None else None,
        )

    @property
    def transport(self) -> Transport:
        """Whether there is one, and whether faults can be injected into it."""
        if self.endpoint is not None:
            return Transport.PROXIED
        if self.capabilities.atomicity is AtomicityScope.GLOBAL:
            return Transport.OUT_OF_REACH
        return Transport.NONE

    def raw(self) -> Storage:
        """Another independent client, of the whole location: for pickling and reading only."""
        if self._pickled is not None:
            storage: Storage = pickle.loads(self._pickled)
            return storage
        return self.opener()

    def usable(self) -> Storage:
        """Another independent client, which writes by way of the twin, if there is one."""
        if self.twin is not None and self.capabilities.read_only:
            return with_twin(self.raw(), self.twin())
        return self.raw()

    def rerouted(self, url: str, *, patience: float | None = None) -> Storage:
        """An independent client that reaches the server under another address."""
        reopen, (config,) = self.origin.__reduce__()
        return reopen(rerouted(config, url, patience=patience))

    def target(self, name: str) -> Target:
        """A fresh place under the prefix for one check."""
        self._scopes += 1
        return Target(self, f"{self.prefix}{name.lower()}-{self._scopes}/")

    def workers(self) -> WorkerPool:
        """Other processes, started on first use and kept for the run."""
        if self._workers is not None and not self._workers.broken:
            return self._workers
        if self._own_workers is None or self._own_workers.broken:
            self._own_workers = WorkerPool(self.budget.processes, timeout=self.budget.timeout)
        self._own_workers.timeout = self.budget.timeout
        return self._own_workers

    def allow(self, seconds: float) -> None:
        """Let the checks that follow take so long."""
        self.budget = attrs.evolve(self.budget, timeout=seconds)

    def masked(self, text: str) -> str:
        """The text without secrets, for reports."""
        for secret in self.secrets:
            text = text.replace(secret, "***")
        return text

    async def cleanup(self) -> str:
        """Remove what the run wrote; stop the other processes. What could not be removed, in words."""
        if self._own_workers is not None:
            self._own_workers.stop()
            self._own_workers = None
        problem = ""
        if not self.capabilities.read_only or self.twin is not None:
            client = self.usable()
            try:
                async with asyncio.timeout(max(self.budget.timeout, _CLEANUP_S)):
                    await self._remove(client)
            except Exception as error:
                # A storage that cannot even delete still gets its report.
                problem = self.masked(
                    f"objects under {self.prefix} may be left: {type(error).__name__}: {error}"
                )
            await _closed(client)
        await _closed(self.origin)
        return problem

    async def _remove(self, client: Storage) -> None:
        keys = set(self.written)
        if self.capabilities.list:
            keys.update([info.key async for info in client.list(self.prefix, None)])
        remaining = sorted(keys)
        for start in range(0, len(remaining), 1000):
            for result in await client.delete(remaining[start : start + 1000]):
                if result.error is not None and not isinstance(result.error, InvalidKey):
                    raise result.error


class Target:
    """What a check is given: a place of its own, and clients for it."""

    def __init__(self, location: Location, prefix: str) -> None:
        self.location = location
        self.prefix = prefix
        self.capabilities = location.capabilities
        self.budget = location.budget
        self.secrets = location.secrets
        self._clients: list[Storage] = []
        self._proxies: list[FaultProxy] = []

    @property
    def large_object(self) -> int:
        """Bytes of the large objects: enough for an upload in parts, where the budget is not much too
        small."""
        parts = large_from(self.location.origin.config) + (1 << 20)
        return (
            parts
            if self.budget.large_object < parts <= 4 * self.budget.large_object
            else self.budget.large_object
        )

    async def client(self) -> Storage:
        """A freshly opened client on this check's place, independent of the others."""
        return self.scoped(self.location.usable())

    def scoped(self, storage: Storage) -> Storage:
        """A client of the whole location, confined to this check's place."""
        client = prefixed(storage, self.prefix, self.location.written)
        self._clients.append(client)
        return client

    async def faulty(self, *, impatient: bool = False) -> Faulty:
        """A client whose writes can be struck: by the faulting proxy where the storage talks to a server that
        can be reached through it, else around its hooks.

        Parameters
        ----------
        impatient
            Give up as soon as the budget says, where the storage can be told to.
        """
        if self.location.transport is Transport.PROXIED:
            return await self.wire(impatient=impatient)
        return HookFaults(await self.client())

    async def wire(self, *, impatient: bool = False) -> WireFaults:
        """A client by way of a faulting proxy.

        Raises
        ------
        NotApplicable
            If the storage has no transport, or none that can be led through a proxy.
        """
        endpoint = self.location.endpoint
        if endpoint is None:
            raise NotApplicable(self.location.transport.value)
        proxy = FaultProxy(endpoint).start()
        self._proxies.append(proxy)
        patience = self.budget.patience if impatient else None
        client = self.scoped(self.location.rerouted(proxy.url, patience=patience))
        return WireFaults(client, proxy, self.prefix, self.budget.timeout)

    def remember(self, keys: Sequence[str]) -> None:
        """Tell of keys that another process writes, so that they are removed at the end."""
        self.location.written.update(self.prefix + key for key in keys)

    def reopener(self) -> Callable[[], Storage]:
        """A picklable function that opens the location in another process."""
        pickled = self.location._pickled
        if pickled is not None:
            return _Unpickle(pickled)
        return self.location.opener

    async def close(self) -> None:
        """Close the clients that the check opened."""
        for client in self._clients:
            await _closed(client)
        self._clients.clear()
        for proxy in self._proxies:
            proxy.stop()
        self._proxies.clear()


async def _closed(client: Storage) -> None:
    """Close a client, unless that fails or hangs."""
    with contextlib.suppress(IcechunkError, TimeoutError):
        async with asyncio.timeout(_CLOSE_S):
            await client.close()


@frozen
class _Unpickle:
    pickled: bytes = attrs.field(repr=False)

    def __call__(self) -> Storage:
        storage: Storage = pickle.loads(self.pickled)
        return storage


def _pickled(storage: Storage) -> bytes | None:
    try:
        data = pickle.dumps(storage)
        pickle.loads(data)
    except Exception:
        # A check of its own reports it.
        return None
    return data


def _secret_fields(config: Any) -> list[str]:
    """Values of the configuration's hidden fields that are long enough to look for."""
    if config is None or not attrs.has(type(config)):
        return []
    found: list[str] = []
    for field in attrs.fields(type(config)):
        value = getattr(config, field.name)
        if field.repr is False and isinstance(value, str) and len(value) >= 6:
            found.append(value)
        elif attrs.has(type(value)):
            found.extend(_secret_fields(value))
    return found
