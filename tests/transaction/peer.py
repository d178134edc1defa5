"""Icechunk as the oracle for rebases: the same steps, in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from zarr.core.buffer import cpu, default_buffer_prototype

from icechunk_core.format.snapshot import NodeSnapshot


class Step(Protocol):
    """See `test_conflicts.Step`."""

    @property
    def what(self) -> str: ...

    @property
    def path(self) -> str: ...

    @property
    def value(self) -> Any: ...


def available() -> bool:
    """Whether an Icechunk that knows spec 2 is installed."""
    try:
        import icechunk as peer
    except ImportError:
        return False
    return not peer.__version__.startswith(("0.", "1."))


def icechunk() -> Any:
    """The module, with its log (a warning for each failed rebase) switched off."""
    import icechunk as peer

    peer.set_logs_filter("off")
    return peer


def _key(path: str, name: str) -> str:
    return f"{path.strip('/')}/{name}".lstrip("/")


def _set(session: Any, key: str, data: bytes) -> None:
    asyncio.run(session.store.set(key, cpu.Buffer.from_bytes(data)))


def _do(session: Any, step: Step) -> None:
    if step.what == "write":
        _set(session, _key(step.path, "zarr.json"), step.value)
    elif step.what == "delete":
        asyncio.run(session.store.delete(_key(step.path, "zarr.json")))
    else:
        coord, text = step.value
        key = _key(step.path, f"c/{coord}")
        if text is None:
            asyncio.run(session.store.delete(key))
        else:
            _set(session, key, text.encode())


def _nodes(session: Any) -> dict[str, bytes]:
    async def read() -> dict[str, bytes]:
        found = {}
        async for key in session.store.list():
            if key.endswith("zarr.json"):
                buffer = await session.store.get(key, default_buffer_prototype())
                path = "/" + key.removesuffix("zarr.json").strip("/")
                found[path] = buffer.to_bytes()
        return dict(sorted(found.items(), key=lambda item: item[0].encode()))

    return asyncio.run(read())


def rebase(
    base: Iterable[NodeSnapshot], ours: Sequence[Step], theirs: Sequence[Step], solver: Any
) -> tuple[str, Any]:
    """Rebase one session over another's commit: its conflicts, or its nodes afterwards."""
    ic = icechunk()
    repo = ic.Repository.create(ic.in_memory_storage())
    start = repo.writable_session("main")
    for node in base:
        _set(start, _key(node.path, "zarr.json"), node.user_data)
    start.commit("base")
    mine, other = repo.writable_session("main"), repo.writable_session("main")
    for session, steps in ((mine, ours), (other, theirs)):
        for step in steps:
            _do(session, step)
    other.commit("theirs")
    try:
        mine.rebase(solver)
    except ic.RebaseFailedError as error:
        found = [
            (str(c.conflict_type).title().replace(" ", ""), c.path, c.conflicted_chunks)
            for c in error.conflicts
        ]
        return "conflicts", sorted(found)
    return "nodes", _nodes(mine)
