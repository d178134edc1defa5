"""One measurement of how something grows, in a process of its own.

    python -m tests.benchmarks.scaling_worker FOLDER CONTESTANT CASE [SIZE ...]

Prints a JSON object with what was measured: seconds, or megabytes where the name says so. The same code
drives both implementations, which have one API.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import json
import resource
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import zarr
from zarr.core.buffer import default_buffer_prototype

__all__ = ["CASES"]

_FILES = 100
_REPEATS = 20
_GROUP = b'{"zarr_format":3,"node_type":"group","attributes":{"at":%d}}'


def module_of(contestant: str) -> Any:
    """The implementation: ``ours`` or ``peer``."""
    module = importlib.import_module("icechunk_core" if contestant == "ours" else "icechunk")
    if contestant == "peer":
        module.set_logs_filter("off")
    return module


def seconds(call: Callable[[], Any]) -> float:
    """How long a call takes."""
    gc.collect()
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def resident_mb() -> float:
    """Resident memory now."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 1e6


class Peak:
    """The largest resident memory while the block runs, in MB above what was there before."""

    def __enter__(self) -> Peak:
        gc.collect()
        self._before = self._most = resident_mb()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        self.mb = max(self._most, resident_mb()) - self._before

    def _watch(self) -> None:
        while not self._done.wait(0.002):
            self._most = max(self._most, resident_mb())


async def _keys(store: Any) -> int:
    count = 0
    async for _ in store.list():
        count += 1
    return count


async def _names(store: Any, directory: str) -> int:
    return len([name async for name in store.list_dir(directory)])


async def _get(store: Any, key: str) -> bytes:
    value = await store.get(key, default_buffer_prototype())
    assert value is not None
    return bytes(value.to_bytes())


def _set(store: Any, key: str, data: bytes) -> None:
    from zarr.core.sync import sync

    sync(store.set(key, default_buffer_prototype().buffer.from_bytes(data)))


# --- a long history in memory --------------------------------------------------------


def history(module: Any, folder: Path, *lengths: int) -> dict[str, float]:
    """Session, attribute change and commit after so many commits, in memory."""
    repo = module.Repository.create(module.in_memory_storage())
    session = repo.writable_session("main")
    zarr.create_group(session.store)
    session.commit("a group")
    found: dict[str, float] = {}
    done = 1

    def once() -> None:
        session = repo.writable_session("main")
        zarr.open_group(session.store, mode="r+").attrs["at"] = done
        session.commit("next")

    for length in lengths:
        while done < length - _REPEATS // 2:
            done += 1
            once()
        samples = []
        for _ in range(_REPEATS):
            done += 1
            start = time.perf_counter()
            once()
            samples.append(time.perf_counter() - start)
        found[f"commit at {length}"] = median(samples)
    return found


# --- many nodes and snapshots --------------------------------------------------------


def make_large(folder: Path, snapshots: int, arrays: int) -> None:
    """A repository with so many snapshots, the newest of which have so many arrays, on a directory."""
    import icechunk_core

    repo = icechunk_core.Repository.create(icechunk_core.local_filesystem_storage(folder, durable=False))
    for step in range(snapshots - 3):
        session = repo.writable_session("main")
        _set(session.store, "zarr.json", _GROUP % step)
        session.commit(f"step {step}", metadata={"step": step})
    session = repo.writable_session("main")
    root = zarr.open_group(session.store, mode="a")
    first = root.create_array("array0", shape=(100, 100), chunks=(10, 10), dtype="f4", fill_value=0)
    first[:] = 1
    data = asyncio.run(_get(session.store, "array0/zarr.json"))
    for number in range(1, arrays):
        _set(session.store, f"array{number}/zarr.json", data)
        _set(session.store, f"array{number}/c/0/0", b"some bytes of a chunk")
    session.commit("arrays")
    session = repo.writable_session("main")
    zarr.open_array(session.store, path="array0", mode="r+")[0, 0] = 2
    session.commit("changed")


def large(module: Any, folder: Path, made: str) -> dict[str, float]:
    """What is done with a repository of many snapshots and arrays."""
    import shutil

    place = folder / "repo"
    shutil.copytree(made, place)
    storage = module.local_filesystem_storage(str(place))
    if module.__name__ == "icechunk_core":
        storage = module.local_filesystem_storage(str(place), durable=False)
    module.Repository.open(storage)
    found: dict[str, list[float]] = {}

    def timed(name: str, call: Callable[[], Any]) -> Any:
        results: list[Any] = []
        found.setdefault(name, []).append(seconds(lambda: results.append(call())))
        return results[0]

    for turn in range(5):
        repo = timed("open", lambda: module.Repository.open(storage))
        store = timed("session", lambda repo=repo: repo.readonly_session("main")).store
        timed("list_dir", lambda store=store: asyncio.run(_names(store, "")))
        timed("list_dir again", lambda store=store: asyncio.run(_names(store, "")))
        infos = timed("ancestry", lambda repo=repo: list(repo.ancestry(branch="main")))
        newest = {"from_snapshot_id": infos[1].id, "to_snapshot_id": infos[0].id}
        timed("diff of neighbours", lambda repo=repo, newest=newest: repo.diff(**newest))
        timed("inspect_repo_info", lambda repo=repo: repo.inspect_repo_info())
        timed("graph as text", lambda repo=repo: str(repo.ancestry_graph(branch="main")))
        timed("ops log", lambda repo=repo: list(repo.ops_log()))

        def commit(repo: Any = repo, turn: int = turn) -> None:
            session = repo.writable_session("main")
            _set(session.store, "zarr.json", _GROUP % (1_000_000 + turn))
            session.commit("attributes")

        timed("commit", commit)
    return {name: median(samples) for name, samples in found.items()}


# --- many chunks ---------------------------------------------------------------------


def _virtual_repo(module: Any, folder: Path) -> tuple[Any, Callable[[], Any], list[str]]:
    """A new repository on a directory, how to open it anew, and the locations that its refs have."""
    data = folder / "data"
    data.mkdir()
    names = [f"file://{data}/part-{number:05}.bin" for number in range(_FILES)]
    for name in names:
        Path(name.removeprefix("file://")).write_bytes(bytes(range(200)) * 50)
    prefix = f"file://{data}/"
    config = module.RepositoryConfig.default()
    config.set_virtual_chunk_container(
        module.VirtualChunkContainer(prefix, module.local_filesystem_store(str(data)))
    )
    options: dict[str, Any] = {"durable": False} if module.__name__ == "icechunk_core" else {}
    storage = module.local_filesystem_storage(str(folder / "repo"), **options)
    authorized = {prefix: module.Credentials.LocalFileSystemAccess()}
    repo = module.Repository.create(storage, config, authorized)
    return repo, lambda: module.Repository.open(storage, config, authorized), names


def _fill(repo: Any, names: list[str], side: int) -> tuple[float, float, float]:
    """Write ``side * side`` virtual refs; seconds for setting and committing them, peak memory in MB."""
    session = repo.writable_session("main")
    zarr.create_array(
        session.store, name="a", shape=(side, side), chunks=(1, 1), dtype="i4", compressors=None, fill_value=0
    )
    count = side * side
    locations = [names[number * len(names) // count] for number in range(count)]
    offsets = np.arange(count, dtype=np.uint64) % 2_000 * 4
    lengths = np.full(count, 4, dtype=np.uint64)
    with Peak() as peak:
        setting = seconds(
            lambda: session.store.set_virtual_refs_arr(
                "a", (side, side), locations, offsets, lengths, validate_containers=True
            )
        )
        commit = seconds(lambda: session.commit("refs"))
    return setting, commit, peak.mb


def refs(module: Any, folder: Path, rows: int) -> dict[str, float]:
    """A manifest of many refs: writing, changing one chunk, opening and the first chunk."""
    side = round(rows**0.5)
    repo, reopen, names = _virtual_repo(module, folder)
    setting, commit, peak_mb = _fill(repo, names, side)
    found = {
        "set refs": setting,
        "commit refs": commit,
        "set and commit": setting + commit,
        "peak MB": peak_mb,
    }
    repo = reopen()
    found["cold open and first chunk"] = seconds(
        lambda: asyncio.run(_get(reopen().readonly_session("main").store, f"a/c/{side // 2}/{side // 3}"))
    )
    for name in ("one changed chunk, cold", "one changed chunk"):
        session = repo.writable_session("main")
        zarr.open_array(session.store, path="a", mode="r+")[side // 2, side // 2] = 7
        found[name] = seconds(lambda session=session: session.commit("one"))
    return found


def listing(module: Any, folder: Path, rows: int) -> dict[str, float]:
    """All keys of an array with many chunks, in memory."""
    side = round(rows**0.5)
    repo = module.Repository.create(module.in_memory_storage())
    names = [f"s3://bucket/part-{number:05}.bin" for number in range(_FILES)]
    session = repo.writable_session("main")
    zarr.create_array(session.store, name="a", shape=(side, side), chunks=(1, 1), dtype="i4")
    count = side * side
    session.store.set_virtual_refs_arr(
        "a",
        (side, side),
        [names[number % _FILES] for number in range(count)],
        np.zeros(count, np.uint64),
        np.ones(count, np.uint64),
        validate_containers=False,
    )
    session.commit("refs")
    store = repo.readonly_session("main").store
    keys: list[int] = []
    found = {"store.list()": seconds(lambda: keys.append(asyncio.run(_keys(store))))}
    assert keys == [count + 2]
    return found


CASES: dict[str, Callable[..., dict[str, float]]] = {
    "history": history,
    "large": large,
    "refs": refs,
    "listing": listing,
}


def main() -> None:
    """Measure what the arguments say."""
    folder, contestant, case, *arguments = sys.argv[1:]
    place = Path(tempfile.mkdtemp(dir=folder))
    if case == "make":
        make_large(place / "repo", *map(int, arguments))
        print(json.dumps(str(place / "repo")))
        return
    numbers: list[Any] = [int(text) if text.isdigit() else text for text in arguments]
    print(json.dumps(CASES[case](module_of(contestant), place, *numbers)))


if __name__ == "__main__":
    main()
