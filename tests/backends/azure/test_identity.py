"""Credentials that are renewed: when, how often, and for whom."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import types
from datetime import timedelta
from typing import Any

import pytest

from icechunk_azure._identity import Bearer, Fetched, RenewedSource, SasToken, SharedKey, secrets_of
from icechunk_azure._location import Location
from icechunk_azure._sources import source_of
from icechunk_core.clock import SystemClock, datetime_from_us
from icechunk_core.contract.credentials import AzureCredentials
from icechunk_core.contract.errors import Unauthenticated


class _Clock(SystemClock):
    def __init__(self) -> None:
        self.us = 1_800_000_000_000_000

    def now_us(self) -> int:
        return self.us


class _Vault:
    """Gives a new token each time, which is valid for ten minutes."""

    def __init__(self, clock: _Clock) -> None:
        self.clock = clock
        self.calls = 0
        self.go = threading.Event()
        self.go.set()

    def __call__(self) -> Fetched:
        self.go.wait(30)
        self.calls += 1
        end = datetime_from_us(self.clock.now_us()) + timedelta(minutes=10)
        return Fetched(Bearer(f"token-{self.calls}"), end)


def _source() -> tuple[RenewedSource, _Vault, _Clock]:
    clock = _Clock()
    vault = _Vault(clock)
    return RenewedSource(vault, clock), vault, clock


async def test_a_stampede_renews_once() -> None:
    """However many tasks, threads and loops wait for a credential, the function is called once."""
    source, vault, _ = _source()
    vault.go.clear()

    async def many() -> list[Any]:
        return await asyncio.gather(*(source.current() for _ in range(50)))

    elsewhere = [asyncio.to_thread(asyncio.run, many()) for _ in range(3)]
    waiting = asyncio.gather(many(), *elsewhere)
    await asyncio.sleep(0)
    vault.go.set()
    results = await waiting
    assert vault.calls == 1
    assert {identity for each in results for identity in each} == {Bearer("token-1")}


async def test_renewed_before_the_end() -> None:
    """A credential is used until a minute before its end, and renewed then."""
    source, vault, clock = _source()
    assert await source.current() == Bearer("token-1")
    clock.us += 8 * 60 * 1_000_000
    assert await source.current() == Bearer("token-1")
    clock.us += 90 * 1_000_000
    assert await source.current() == Bearer("token-2")
    assert vault.calls == 2


async def test_renewed_when_refused() -> None:
    """A refused credential is renewed once; those who were refused the same one get the new one."""
    source, vault, _ = _source()
    old = await source.current()
    renewed = await asyncio.gather(*(source.renewed(old) for _ in range(20)))
    assert set(renewed) == {Bearer("token-2")}
    assert await source.renewed(old) == Bearer("token-2")
    assert vault.calls == 2


async def test_a_failure_is_not_kept() -> None:
    """After a failed renewal the next request tries again."""
    clock = _Clock()
    outcomes: list[Any] = [RuntimeError("secret"), Fetched(Bearer("good"))]

    def fetch() -> Fetched:
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        assert isinstance(outcome, Fetched)
        return outcome

    source = RenewedSource(fetch, clock)
    with pytest.raises(Unauthenticated, match="RuntimeError"):
        await source.current()
    assert await source.current() == Bearer("good")


async def test_a_cancelled_waiter_takes_nothing_from_the_others() -> None:
    """One task that stops waiting does not cancel the renewal for the rest."""
    source, vault, _ = _source()
    vault.go.clear()
    first = asyncio.ensure_future(source.current())
    second = asyncio.ensure_future(source.current())
    await asyncio.sleep(0)
    first.cancel()
    vault.go.set()
    assert await second == Bearer("token-1")
    assert vault.calls == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_usable_after_fork() -> None:
    """A child forked while the parent's renewal was under way renews for itself."""
    source, vault, _ = _source()
    source._lock.acquire()  # as another thread might at that moment
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = 0 if asyncio.run(source.current()) == Bearer("token-1") else 2
        finally:
            os._exit(code)
    source._lock.release()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert vault.calls == 0


def test_secrets_are_known() -> None:
    """The texts that no message may show are the key, the token, and a signature in either encoding."""
    assert secrets_of(SharedKey("acc", "key")) == ("key",)
    assert "a/b" in secrets_of(SasToken("sv=1&sig=a%2Fb"))
    assert "a%2Fb" in secrets_of(SasToken("sv=1&sig=a%2Fb"))
    assert "hidden" not in repr((SharedKey("acc", "hidden"), SasToken("hidden"), Bearer("hidden")))


async def test_azure_ad_through_azure_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where azure-identity is installed, its default credential gives the token; failures tell what to do."""
    scopes: list[str] = []
    failing = False

    class Credential:
        def get_token(self, scope: str) -> Any:
            if failing:
                raise RuntimeError("tenant and secret")
            scopes.append(scope)
            return types.SimpleNamespace(token="from-ad", expires_on=1_900_000_000)

    module: Any = types.ModuleType("azure.identity")
    module.DefaultAzureCredential = Credential
    monkeypatch.setitem(sys.modules, "azure.identity", module)
    monkeypatch.setattr("icechunk_azure._sources.find_spec", lambda name: object())
    location = Location("acc", "https://acc.example", "box", "", AzureCredentials.FromEnv())
    assert await source_of(location, _Clock()).current() == Bearer("from-ad")
    assert scopes == ["https://storage.azure.com/.default"]
    failing = True
    with pytest.raises(Unauthenticated, match="az login"):
        await source_of(location, _Clock()).current()
