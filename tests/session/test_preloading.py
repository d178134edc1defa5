"""Manifests that are loaded as a session starts."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
import zarr

import icechunk_core as ic
from icechunk_core.contract import Storage
from icechunk_core.errors import Timeout
from icechunk_core.session.preloading import manifests_to_preload
from icechunk_core.storage import Fault, with_faults, with_latency

SIZES = {"time": 5, "data": 5, "lat": 3, "longest": 40, "group/lon": 4}


@pytest.fixture
def storage() -> Storage:
    """A repository with arrays of one chunk reference per element, each with a manifest of its own."""
    storage = ic.in_memory_storage()
    apart = ic.ManifestConfig(splitting=ic.ManifestSplittingConfig.from_dict({}))
    repo = ic.Repository.create(storage, ic.RepositoryConfig(inline_chunk_threshold_bytes=0, manifest=apart))
    session = repo.writable_session("main")
    for name, size in SIZES.items():
        zarr.create_array(session.store, name=name, data=np.arange(1, size + 1), chunks=(1,))
    session.commit("arrays")
    return storage


def configured(storage: Storage, preload: ic.ManifestPreloadConfig | None) -> ic.Repository:
    """The repository with a preload configuration."""
    return ic.Repository.open(storage, ic.RepositoryConfig(manifest=ic.ManifestConfig(preload=preload)))


def chosen(storage: Storage, preload: ic.ManifestPreloadConfig) -> list[int]:
    """Sizes of the manifests that are chosen; they tell the arrays apart."""
    snapshot = configured(storage, preload).readonly_session("main")._state.base
    return [info.num_chunk_refs for info in manifests_to_preload(snapshot, preload)]


def test_coordinates_by_default(storage: Storage) -> None:
    """Small manifests of arrays with the usual names of coordinates, in any group."""
    assert sorted(chosen(storage, ic.ManifestPreloadConfig())) == [3, 4, 5]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"preload_if": ic.ManifestPreloadCondition.true()}, [3, 4, 5, 5, 40]),
        ({"preload_if": ic.ManifestPreloadCondition.false()}, []),
        ({"preload_if": ic.ManifestPreloadCondition.name_matches("^long")}, [40]),
        ({"preload_if": ic.ManifestPreloadCondition.num_refs(4, 6)}, [4, 5, 5]),
        ({"preload_if": ic.ManifestPreloadCondition.true(), "max_arrays_to_scan": 1}, [5]),
        ({"preload_if": ic.ManifestPreloadCondition.true(), "max_total_refs": 12}, [3, 4, 5]),
        ({"max_total_refs": 0}, []),
    ],
)
def test_conditions_and_bounds(storage: Storage, options: Any, expected: list[int]) -> None:
    """The condition chooses, the number of arrays and of references bound what it may choose."""
    assert sorted(chosen(storage, ic.ManifestPreloadConfig(**options))) == expected


def test_a_session_starts_the_loading(storage: Storage) -> None:
    """Where reads wait, the manifests are on their way before anything is read; once per snapshot."""
    slow, log = with_faults(with_latency(storage, 0.0))
    arrived = threading.Event()

    async def seen() -> None:
        if len(manifests()) == 3:
            arrived.set()

    def manifests() -> list[str]:
        return [
            call.keys[0]
            for call in log.calls
            if call.operation == "get_range" and "manifests/" in call.keys[0]
        ]

    log.add(Fault("get_range", times=None, meanwhile=seen))
    repo = configured(slow, None)
    session = repo.readonly_session("main")
    assert arrived.wait(30)
    repo.writable_session("main")
    assert zarr.open_array(session.store, path="time", mode="r")[:].tolist() == [1, 2, 3, 4, 5]
    assert len(manifests()) == len(set(manifests())) == 3


def test_nothing_is_preloaded_where_nothing_waits(storage: Storage) -> None:
    """In memory a manifest is loaded when it is needed."""
    counted, log = with_faults(storage)
    configured(counted, None).readonly_session("main")
    assert not [call for call in log.calls if "manifests/" in str(call.keys)]


def test_a_failure_is_the_readers(storage: Storage) -> None:
    """A manifest that cannot be preloaded disturbs nobody; the read that needs it tries again."""
    slow, log = with_faults(with_latency(storage, 0.0))
    struck = threading.Event()

    async def tell() -> None:
        struck.set()

    log.add(
        Fault(
            "get_range",
            Timeout("late"),
            key=lambda call: "manifests/" in call.keys[0],
            times=3,
            meanwhile=tell,
        )
    )
    session = configured(slow, None).readonly_session("main")
    assert struck.wait(30)
    log.clear()
    assert zarr.open_array(session.store, path="lat", mode="r")[:].tolist() == [1, 2, 3]
