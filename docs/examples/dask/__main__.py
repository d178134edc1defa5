"""Eight processes write one commit, and some of them are killed: ``python docs/examples/dask``.

Needs ``pip install 'icechunk-core[dask,xarray]' iris-sample-data h5netcdf``. Write to another
storage with ``--storage``, for example ``s3://bucket/prefix?endpoint_url=http://localhost:4566``.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dask.array as da
import iris_sample_data
import numpy as np
import xarray as xr
import zarr
from distributed import Client, LocalCluster

from icechunk_core import Repository
from icechunk_core.dask import store_dask
from icechunk_core.xarray import to_icechunk

KILLED_AT = 2 / 3  # of the work


def nemo(years: int) -> xr.Dataset:
    """Monthly sea surface temperatures: three real months, over and over. One Dask task a year."""
    folder = Path(iris_sample_data.path) / "NEMO"
    months = [
        xr.open_dataset(path, decode_times=False, engine="h5netcdf", chunks={})[["tos"]]
        for path in sorted(folder.glob("*.nc"))
    ]
    every = xr.concat(months * (4 * years), dim="time_counter", coords="minimal", compat="override")
    return every.assign_coords(time_counter=np.arange(12 * years)).chunk(time_counter=12)


def killing(array: da.Array, pid: int | None) -> da.Array:
    """The same array, but the worker at two thirds of the blocks kills a process once: itself, or ``pid``."""
    marker = Path(tempfile.mkdtemp(prefix="killed-")) / "done"
    victim = int(array.numblocks[0] * KILLED_AT)

    def block(values: np.ndarray, block_id: tuple[int, ...] | None = None) -> np.ndarray:
        if block_id is not None and block_id[0] == victim and not marker.exists():
            marker.touch()
            os.kill(os.getpid() if pid is None else pid, signal.SIGKILL)
        return values

    return array.map_blocks(block, dtype=array.dtype, meta=array._meta)


@contextmanager
def workers(count: int) -> Iterator[Client]:
    """A scheduler and so many processes of this machine. On a cluster: ``Client("tcp://scheduler:8786")``."""
    with (
        LocalCluster(
            n_workers=count, threads_per_worker=1, dashboard_address=":0", silence_logs=logging.CRITICAL
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


def write_dataset(repo: Repository, dataset: xr.Dataset, *, pid: int | None = None) -> str:
    """xarray: one commit with everybody's chunks."""
    mortal = dataset.assign(tos=dataset.tos.copy(data=killing(dataset.tos.data, pid)))
    session = repo.writable_session("main")
    to_icechunk(mortal, session, mode="w")
    return session.commit(f"{dataset.sizes['time_counter']} months by many workers")


def write_array(repo: Repository, values: da.Array) -> str:
    """Plain arrays: fork, store on the fork, merge, commit."""
    session = repo.writable_session("main")
    zarr.create_array(
        session.store, name="plain/celsius", shape=values.shape, dtype=values.dtype, chunks=values.chunksize
    )
    fork = session.fork()
    target = zarr.open_array(fork.store, path="plain/celsius")
    session.merge(store_dask(sources=[killing(values, None)], targets=[target]))
    return session.commit("Degrees Celsius by many workers")


def check(name: str, stored: da.Array, expected: da.Array) -> None:
    """Compare each value, on the workers."""
    wrong = (~((stored == expected) | (da.isnan(stored) & da.isnan(expected)))).sum().compute()
    assert wrong == 0, f"{wrong} values of {name} differ"
    print(f"   {expected.size:,} values of {name} compared one by one: all equal")


def pids(client: Client) -> set[int]:
    """The workers' processes."""
    return set(client.run(os.getpid).values())


def stored(repo: Repository) -> xr.Dataset:
    """The newest version, lazily."""
    session = repo.readonly_session("main")
    return xr.open_zarr(session.store, consolidated=False, decode_times=False)


def with_workers(repo: Repository, data: xr.Dataset, count: int) -> None:
    """Both ways to write, a worker killed in each."""
    with workers(count) as client:
        print(f"1. to_icechunk: {count} workers write {data.tos.nbytes / 1e6:.0f} MB, one of them is killed")
        before = pids(client)
        write_dataset(repo, data)
        print(f"   {len(before - pids(client))} process was replaced meanwhile")
        check("tos", stored(repo).tos.data, data.tos.data)

        print("2. store_dask: the same with a plain array")
        celsius = data.tos.data - np.float32(273.15)
        write_array(repo, celsius)
        array = zarr.open_array(repo.readonly_session("main").store, path="plain/celsius", mode="r")
        check("celsius", da.from_zarr(array), celsius)
    history = [info.message for info in repo.ancestry(branch="main")]
    print(f"   the history: {history}")
    assert len(history) == 3  # the first is that of the creation


def without_a_writer(repo: Repository, url: str, count: int, years: int) -> None:
    """Kill the process that would commit, in the middle of its work."""
    print("3. the process that writes is killed")
    tip = repo.lookup_branch("main")
    values = stored(repo).tos[0].values
    writer = subprocess.run(
        [sys.executable, __file__, "--storage", url, "--workers", str(count), "--years", str(years), "--die"],
        check=False,
        stderr=subprocess.DEVNULL,
    )
    assert writer.returncode == -signal.SIGKILL
    repo = Repository.open(url)
    assert repo.lookup_branch("main") == tip
    np.testing.assert_array_equal(stored(repo).tos[0].values, values)
    report = repo.verify(data=True)
    assert report.ok
    assert report.orphans is not None
    print(f"   nothing of it is visible; {report.orphans['chunks'].count} objects belong to nobody")
    # Nobody else writes here. Elsewhere, spare what is younger than the longest job.
    summary = repo.garbage_collect(datetime.now(UTC) + timedelta(minutes=1))
    assert summary.chunks_deleted == report.orphans["chunks"].count
    report = repo.verify(data=True)
    assert report.ok
    assert report.orphans is not None
    print(f"   garbage collection deleted them; {report.orphans['chunks'].count} are left")


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(prog="python docs/examples/dask", description=__doc__)
    parser.add_argument("--storage", help="a URL or a new directory; a temporary one by default")
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--years", type=int, default=24)
    parser.add_argument("--die", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    data = nemo(options.years)
    if options.die:
        with workers(options.workers):
            write_dataset(Repository.open(options.storage), data + 1, pid=os.getpid())
        return
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        # Also for the processes that are started from here.
        os.environ["TMPDIR"] = tempfile.tempdir = scratch
        url = options.storage or f"{scratch}/repository"
        repo = Repository.create(url)
        with_workers(repo, data, options.workers)
        without_a_writer(repo, url, options.workers, options.years)


if __name__ == "__main__":
    main()
