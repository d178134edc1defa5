"""Chunks between the moment they are written and the moment they are in the storage, packed or not."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from zarr.abc.store import OffsetByteRequest, RangeByteRequest, SuffixByteRequest
from zarr.core.buffer import default_buffer_prototype

import icechunk_core as ic
from icechunk_core.contract.wrappers import Call, Fault, with_faults
from icechunk_core.drive import run_direct
from icechunk_core.errors import Unavailable
from icechunk_core.session.pickling import restore_state, save_state
from tests.interop.implementations import contents, get, put
from tests.interop.nodes import array_json

COUNT = 300
BOTH = pytest.mark.parametrize("packs", [False, True], ids=["plain", "packs"])


def chunk(number: int) -> bytes:
    return b"%05d" % number * 200


def session_with_array(repo: ic.Repository) -> ic.Session:
    session = repo.writable_session("main")
    put(session, {"x/zarr.json": array_json((COUNT,), (1,))})
    return session


def in_chunks(call: Call) -> bool:
    return any(key.startswith("chunks/") for key in call.keys)


@BOTH
def test_chunks_that_wait_are_read(tmp_path: Path, packs: bool) -> None:
    """A chunk reads the same before and after it is in the storage, whole and in parts."""
    repo = ic.Repository.create(str(tmp_path / "repo"), packs=packs)
    session = session_with_array(repo)
    put(session, {"x/c/0": chunk(7)})
    assert not (tmp_path / "repo" / "chunks").exists()
    prototype = default_buffer_prototype()

    def parts() -> list[bytes]:
        found = []
        for request in (None, RangeByteRequest(3, 8), OffsetByteRequest(990), SuffixByteRequest(4)):
            value = session.store.get_sync("x/c/0", prototype=prototype, byte_range=request)
            assert value is not None
            found.append(value.to_bytes())
        return found

    whole = chunk(7)
    assert parts() == [whole, whole[3:8], whole[990:], whole[-4:]]
    session.commit("written")
    assert len(list((tmp_path / "repo" / "chunks").iterdir())) == 1
    assert parts() == [whole, whole[3:8], whole[990:], whole[-4:]]


@BOTH
def test_many_chunks_are_all_written(storage: ic.Storage, packs: bool) -> None:
    """More chunks than may wait, large ones among them, from several threads: all are committed."""
    repo = ic.Repository.create(storage, packs=packs)
    session = session_with_array(repo)
    written = {f"x/c/{n}": chunk(n) * (90 if n % 50 == 0 else 1) for n in range(COUNT)}
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda item: put(session, dict([item])), written.items()))
    snapshot = session.commit("many")
    held = contents(repo.readonly_session(snapshot_id=snapshot).store)
    assert {key: held[key] for key in written} == written


def test_a_failed_write_forgets_nothing() -> None:
    """While chunks cannot be stored the commit fails; when they can, it has them all."""
    storage, log = with_faults(ic.in_memory_storage())
    repo = ic.Repository.create(storage, packs=False)
    session = session_with_array(repo)
    put(session, {f"x/c/{n}": chunk(n) for n in range(10)})
    log.add(Fault("put", Unavailable("disk on fire"), key=in_chunks, nth=4))
    with pytest.raises(Unavailable, match="disk on fire"):
        session.commit("fails")
    assert repo.lookup_branch("main") == session.snapshot_id
    assert get(session, "x/c/9") == chunk(9)
    session.commit("works")
    held = contents(repo.readonly_session("main").store)
    assert [held[f"x/c/{n}"] for n in range(10)] == [chunk(n) for n in range(10)]


@BOTH
def test_waiting_chunks_are_stored_before_a_session_travels(tmp_path: Path, packs: bool) -> None:
    """What another process gets of a session refers to stored chunks only."""
    repo = ic.Repository.create(str(tmp_path / "repo"), packs=packs)
    session = session_with_array(repo)
    put(session, {"x/c/1": chunk(1)})
    copy = restore_state(pickle.loads(pickle.dumps(save_state(session._state))))
    data = run_direct(copy.read_chunk("/x", (1,)))
    assert data is not None
    assert bytes(data) == chunk(1)
    assert len(list((tmp_path / "repo" / "chunks").iterdir())) == 1
