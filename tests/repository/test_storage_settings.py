"""A repository's `StorageSettings` reach the storage: given, stored and pickled."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import zarr
from attrs import evolve, field, frozen

import icechunk_core as ic
from icechunk_core.contract import AtomicityScope, BackendSpec, Capabilities, hookimpl
from icechunk_core.contract.wrappers import Fault, with_faults
from icechunk_core.errors import Unavailable
from icechunk_core.plugins import register_backend, unregister_backend
from icechunk_core.storage import local_filesystem_storage, storage_from_url
from icechunk_memory._config import MemoryConfig
from icechunk_memory._storage import MemoryStorage

OPENED: list[SlowConfig] = []
"""Configurations of the storages that were opened, in turn."""


@frozen
class SlowConfig:
    """A storage with some of the options that settings can change."""

    name: str = ""
    tries: int = field(default=4, metadata={"tuned_by": "attempts"})
    first: float = field(default=0.1, metadata={"tuned_by": "first_wait"})
    longest: float = field(default=5.0, metadata={"tuned_by": "longest_wait"})
    patience: float = field(default=9.0, metadata={"tuned_by": "read_timeout"})
    piece: int = field(default=1 << 20, metadata={"tuned_by": "part_size", "at_least": 1 << 16})


class Slow(MemoryStorage):
    """A storage in memory that says it is a service."""

    def __init__(self, config: SlowConfig) -> None:
        OPENED.append(config)
        super().__init__(MemoryConfig(name=f"settings-{config.name}"))

    @hookimpl
    def capabilities(self) -> Capabilities:
        return evolve(super().capabilities(), atomicity=AtomicityScope.GLOBAL)


def _options(url: Any) -> Mapping[str, Any]:
    return {"name": url.netloc}


@pytest.fixture(autouse=True)
def slow() -> Iterator[None]:
    """The backend is registered, and nothing was opened yet."""
    OPENED.clear()
    register_backend(
        BackendSpec(
            name="slow",
            schemes=("slow",),
            config=SlowConfig,
            capabilities=Slow(SlowConfig()).capabilities(),
            factory=Slow,
            options_from_url=_options,
        )
    )
    yield
    unregister_backend("slow")


def _config(**settings: Any) -> ic.RepositoryConfig:
    return ic.RepositoryConfig(storage=ic.StorageSettings(**settings))


TRIES = ic.StorageRetriesSettings(max_tries=7)
PATIENCE = ic.StorageTimeoutSettings(read_timeout_ms=2500)


def test_from_create_on() -> None:
    """Creating a repository with settings uses and stores them, and whoever opens it uses them too."""
    repo = ic.Repository.create("slow://created", config=_config(retries=TRIES, timeouts=PATIENCE))
    assert (OPENED[-1].tries, OPENED[-1].patience) == (7, 2.5)
    assert repo.storage == storage_from_url("slow://created")
    OPENED.clear()
    reader = ic.Repository.open("slow://created")
    assert (OPENED[-1].tries, OPENED[-1].patience, OPENED[-1].piece) == (7, 2.5, 1 << 20)
    shown = reader.effective_config()["storage.tries"]
    assert (shown.value, shown.source) == ("7", ic.SettingSource.REPOSITORY)


def test_the_caller_wins_over_what_is_stored() -> None:
    """Setting by setting, for this object only."""
    ic.Repository.create("slow://both", config=_config(retries=TRIES, timeouts=PATIENCE))
    ic.Repository.open("slow://both", config=_config(retries=ic.StorageRetriesSettings(max_tries=2)))
    assert (OPENED[-1].tries, OPENED[-1].patience) == (2, 2.5)
    ic.Repository.open("slow://both")
    assert OPENED[-1].tries == 7


def test_options_of_the_storage_win() -> None:
    """What the URL says about this storage holds, whatever the repository's configuration is."""
    ic.Repository.create("slow://url?tries=9", config=_config(retries=TRIES, timeouts=PATIENCE))
    assert (OPENED[-1].tries, OPENED[-1].patience) == (9, 2.5)


def test_reopening() -> None:
    """`reopen` with other settings uses those, and keeps what it does not name."""
    repo = ic.Repository.create("slow://again", config=_config(retries=TRIES, timeouts=PATIENCE))
    same = repo.reopen(config=_config(retries=ic.StorageRetriesSettings(max_tries=3)))
    assert (OPENED[-1].tries, OPENED[-1].patience) == (3, 2.5)
    assert list(same.ancestry(branch="main"))
    assert same.storage == repo.storage


def test_pickled_with_its_settings() -> None:
    """A repository and its sessions arrive elsewhere with the same settings, and work."""
    repo = ic.Repository.create("slow://far", config=_config(retries=TRIES))
    with repo.transaction("main", message="an array") as store:
        zarr.create_array(store, shape=(3,), dtype="i4")[:] = 1
    pickled = pickle.dumps(repo.storage)
    OPENED.clear()
    arrived = pickle.loads(pickled)
    assert OPENED[-1].tries == 7
    assert arrived == repo.storage
    session = pickle.loads(pickle.dumps(repo.readonly_session("main")))
    assert zarr.open_array(session.store, mode="r")[:].tolist() == [1, 1, 1]


def test_what_nobody_chose() -> None:
    """Icechunk stores its defaults with every configuration, those of local directories among them (requests
    of 4 KiB); stored, they change nothing, and given by the caller they count."""
    for concurrency, retries in (
        (ic.StorageConcurrencySettings(18, 12 << 20), ic.StorageRetriesSettings(10, 100, 180_000)),
        (ic.StorageConcurrencySettings(5, 4096), ic.StorageRetriesSettings(1, 0, 0)),
    ):
        name = f"slow://usual{concurrency.ideal_concurrent_request_size}"
        config = _config(concurrency=concurrency, retries=retries)
        ic.Repository.create(name, config=config)
        assert OPENED[-1].tries == retries.max_tries
        OPENED.clear()
        ic.Repository.open(name)
        assert {(each.tries, each.piece) for each in OPENED} == {(4, 1 << 20)}
        ic.Repository.open(name, config=config)
        assert OPENED[-1].tries == retries.max_tries
        assert OPENED[-1].piece == max(concurrency.ideal_concurrent_request_size or 0, 1 << 16)


def test_what_a_storage_cannot_do_is_said() -> None:
    """A service without an option for a setting says so to whoever asks for it, and names the setting; to
    others who open the repository it says nothing."""
    config = _config(timeouts=ic.StorageTimeoutSettings(connect_timeout_ms=100, read_timeout_ms=100))
    with pytest.warns(UserWarning, match=r"slow storage .*timeouts\.connect_timeout_ms; ") as told:
        ic.Repository.create("slow://deaf", config=config)
    assert "read_timeout_ms" not in str(told[0].message)
    assert told[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ic.Repository.open("slow://deaf")


def test_retries_of_a_storage_without_its_own(tmp_path: Path) -> None:
    """Where a backend repeats nothing, the engine does, as often as the settings say; without them never."""
    directory = local_filesystem_storage(str(tmp_path))
    ic.Repository.create(directory)
    waits = {"initial_backoff_ms": 0, "max_backoff_ms": 0}
    for tries, failures, works in ((3, 2, True), (3, 3, False), (None, 1, False)):
        fault = Fault("get_range", lambda: Unavailable("not now"), key="repo", nth=2, times=failures)
        storage, log = with_faults(directory, fault)
        config = _config(retries=ic.StorageRetriesSettings(tries, **waits)) if tries else None
        repo = ic.Repository.open(storage, config=config)
        if works:
            assert len(list(repo.ancestry(branch="main"))) == 1
        else:
            with pytest.raises(Unavailable):
                list(repo.reopen().ancestry(branch="main"))
        assert len(log.struck) == min(failures, tries or 1)
