"""Dask's scheduler with worker processes: writing, reading and maintenance."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

import icechunk_core as ic
from icechunk_core.errors import ExecutorError, StorageConfigError
from tests.dask.support import objects_of, threaded
from tests.dask.tasks import kill_once, mortal, openings, start_counting
from tests.interop.implementations import OURS, everything, open_repo
from tests.maintenance.support import FUTURE, copy, grow, start

for _package in ("distributed", "xarray"):
    pytest.importorskip(_package)

pytestmark = pytest.mark.slow

ROWS = 40
VALUES = np.arange(ROWS * 2 * 50, dtype="i4").reshape(ROWS * 2, 50)


@pytest.fixture(params=["file", "s3"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where processes meet: a directory, or a server with credentials in the URL."""
    if request.param == "file":
        return f"file://{tmp_path}/r"
    server = request.getfixturevalue("ministack")
    return str(server.url(server.new_bucket(), "r"))


def _session_and_target(url: str) -> tuple[ic.Repository, ic.Session, Any]:
    repo = ic.Repository.create(url)
    session = repo.writable_session("main")
    zarr.create_array(
        session.store, name="a", shape=VALUES.shape, chunks=(2, 50), dtype="i4", compressors=None
    )
    return repo, session, zarr.open_array(session.fork().store, path="a")


def _array(block: Callable[..., Any] | None = None, **given: Any) -> Any:
    import dask.array as da

    array = da.from_array(VALUES, chunks=(2, 50))
    return array if block is None else array.map_blocks(block, dtype=VALUES.dtype, **given)


def _values(repo: ic.Repository) -> Any:
    return zarr.open_array(repo.readonly_session("main").store, path="a", mode="r")[:]


def test_a_killed_worker_loses_nothing(url: str, tmp_path: Path, client: Any) -> None:
    """What it had not handed on is done again: all values, one commit, no orphans after collecting."""
    from icechunk_core.dask import store_dask

    repo, session, target = _session_and_target(url)
    source = _array(mortal, marker=str(tmp_path / "killed"), at=ROWS * 2 // 3)
    session.merge(store_dask(sources=[source], targets=[target]))
    session.commit("by workers")
    assert (tmp_path / "killed").exists()
    assert (_values(repo) == VALUES).all()
    assert [info.message for info in repo.ancestry(branch="main")] == ["by workers", "Repository initialized"]
    assert repo.verify(data=True).ok
    repo.garbage_collect(FUTURE)
    report = repo.verify(data=True)
    assert report.ok
    assert report.orphans is not None
    assert report.orphans["chunks"].count == 0
    assert (_values(repo) == VALUES).all()


def test_workers_that_come_and_go(tmp_path: Path) -> None:
    """A cluster that adapts its size to the work writes one commit, too."""
    from distributed import Client, LocalCluster

    from icechunk_core.dask import store_dask

    repo, session, target = _session_and_target(f"file://{tmp_path}/r")
    with LocalCluster(n_workers=0, threads_per_worker=1, processes=False, dashboard_address=":0") as cluster:
        cluster.adapt(minimum=0, maximum=3, interval="20ms", wait_count=1)
        with Client(cluster):
            session.merge(store_dask(sources=[_array()], targets=[target], split_every=3))
            session.commit("by some")
            assert (_values(repo) == VALUES).all()


def test_each_worker_opens_the_storage_once(client: Any, tmp_path: Path) -> None:
    """Forty tasks and their merges cost each worker one storage and, besides, no request of their own."""
    from icechunk_core.dask import store_dask

    _, session, target = _session_and_target(f"file://{tmp_path}/r")
    client.run(start_counting)
    session.merge(store_dask(sources=[_array()], targets=[target]))
    counted = client.run(openings).values()
    assert sum(each["opened"] for each in counted) <= 2 * 2  # a context, and the wrapping as it opens
    assert all(each["snapshots"] > 4 for each in counted)


def test_xarray_writes_and_reads(url: str, client: Any) -> None:
    """A dataset is written, appended to and read by workers; secrets are in nothing that is shown."""
    import xarray as xr

    from icechunk_core.xarray import to_icechunk

    repo = ic.Repository.create(url)
    dataset = xr.Dataset({"t": (("time", "x"), VALUES)}, {"time": np.arange(len(VALUES))}).chunk(time=8)
    session = repo.writable_session("main")
    to_icechunk(dataset, session)
    session.commit("first")
    later = dataset.assign_coords(time=dataset.time + len(VALUES))
    session = repo.writable_session("main")
    to_icechunk(later, session, append_dim="time")
    session.commit("second")
    store = repo.readonly_session("main").store
    found = xr.open_zarr(store, consolidated=False, chunks={"time": 16})
    expected = xr.concat([dataset, later], dim="time")
    assert bool((found.t == expected.t).all().compute())
    assert found.time.values.tolist() == list(range(2 * len(VALUES)))
    assert int(found.t.sum().compute()) == 2 * int(VALUES.sum())
    assert len(pickle.dumps(store)) < 2_000
    shown = [repr(store), repr(client.submit(repr, store).result()), repr(found.t.data.dask)]
    assert not any("secret_access_key='" in text or "test-secret" in text for text in shown)


def test_dask_without_a_cluster(tmp_path: Path) -> None:
    """Dask's own pool of processes writes, too."""
    import dask

    from icechunk_core.dask import store_dask

    repo, session, target = _session_and_target(f"file://{tmp_path}/r")
    with dask.config.set(scheduler="processes", num_workers=1):
        session.merge(store_dask(sources=[_array()], targets=[target]))
    session.commit("by processes")
    assert (_values(repo) == VALUES).all()


def test_a_storage_that_workers_cannot_open(client: Any) -> None:
    """Workers of other processes say at once why they cannot write to memory; the session stays usable."""
    from icechunk_core.dask import store_dask

    repo, session, target = _session_and_target("memory:")
    with pytest.raises(StorageConfigError, match="use a storage that processes share"):
        store_dask(sources=[_array()], targets=[target])
    with pytest.raises(StorageConfigError, match="use a storage that processes share"):
        client.submit(zarr.open_array, repo.readonly_session("main").store, path="a").result()
    session.commit("an empty array")
    assert not _values(repo).any()


# --- maintenance ---------------------------------------------------------------------------


@pytest.fixture
def grown(tmp_path: Path) -> Path:
    """A random history in a directory."""
    repo = start(OURS, tmp_path / "grown")
    grow(repo, 11)
    return tmp_path / "grown"


def test_maintenance_on_a_cluster(grown: Path, client: Any) -> None:
    """Verification, statistics, copies, garbage collection and rewriting give what they give alone."""
    there = copy(grown, "there")
    one, two, executor = threaded(grown), threaded(there), client.get_executor()
    for _ in range(2):  # a second run does the work again
        assert two.verify(data=True, executor=executor) == one.verify(data=True)
    assert two.pack_stats(executor=executor) == one.pack_stats()
    assert two.copy(there.parent / "copy", executor=executor).objects_copied > 10
    assert two.garbage_collect(FUTURE, executor=executor) == one.garbage_collect(FUTURE)
    assert objects_of(there) == objects_of(grown)
    assert two.garbage_collect(FUTURE, executor=executor) == one.garbage_collect(FUTURE)
    two.rewrite_manifests("again", branch="main", executor=executor)
    assert two.verify(data=True).ok
    assert open_repo(OURS, there.parent / "copy").verify(data=True).ok


class _Striking:
    """Kills a worker at some call of an executor, once."""

    def __init__(self, client: Any, marker: Path, at: int) -> None:
        self.client, self.marker, self.left = client, marker, at

    def strike(self) -> None:
        self.left -= 1
        if self.left == 0:
            self.client.submit(kill_once, str(self.marker), pure=False)


@pytest.fixture
def striking(client: Any, tmp_path: Path) -> Iterator[Any]:
    """An executor of the cluster whose workers die at the twentieth call."""
    from distributed.cfexecutor import ClientExecutor

    blow = _Striking(client, tmp_path / "struck", 20)

    class Executor(ClientExecutor):  # type: ignore[misc]
        def submit(self, fn: Any, *args: Any, **kwargs: Any) -> Any:
            blow.strike()
            return super().submit(fn, *args, **kwargs)

    yield Executor(client)
    assert blow.marker.exists()


def test_a_worker_killed_during_maintenance(grown: Path, striking: Any) -> None:
    """The scheduler gives its jobs to others, and the repository is as if nothing had happened."""
    expected = everything(open_repo(OURS, grown))
    alone = copy(grown, "alone")
    threaded(alone).garbage_collect(FUTURE)
    threaded(grown).garbage_collect(FUTURE, executor=striking)
    assert objects_of(grown) == objects_of(alone)
    assert everything(open_repo(OURS, grown)) == expected
    assert open_repo(OURS, grown).verify(data=True).ok


def test_the_command_line_on_a_cluster(grown: Path, client: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """``--dask`` uses the scheduler at that address; where none is, the message says so."""
    from icechunk_core.cli.app import run

    assert run(["verify", f"file://{grown}?threaded=true", "--dask", client.scheduler.address, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["ok"] is True
    import dask

    with dask.config.set({"distributed.comm.timeouts.connect": "100ms"}):
        assert run(["verify", str(grown), "--dask", "tcp://127.0.0.1:1"]) == 7
    assert "no Dask scheduler" in capsys.readouterr().err


def test_a_closed_client(grown: Path, cluster: Any) -> None:
    """An executor that takes no more work is reported as what it is."""
    from distributed import Client

    with Client(cluster, set_as_default=False) as client:
        executor = client.get_executor()
    executor.shutdown()
    with pytest.raises(ExecutorError, match="takes no more work"):
        threaded(grown).verify(executor=executor)
