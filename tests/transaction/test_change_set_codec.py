"""Change sets as bytes."""

from __future__ import annotations

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from icechunk_core.errors import Corrupt
from icechunk_core.format.manifest import ChunkRef, InlineRef, NativeRef, VirtualRef
from icechunk_core.format.snapshot import NodeTable
from icechunk_core.format.transaction_log import Move
from icechunk_core.transaction.change_set import ChangeSet
from tests.transaction.model import array, array_json, group, group_json, inline, node_id, put, seen

U64 = st.integers(0, 2**64 - 1)
REFS: st.SearchStrategy[ChunkRef | None] = st.one_of(
    st.none(),
    st.binary(max_size=20).map(InlineRef),
    st.builds(NativeRef, st.binary(min_size=12, max_size=12), U64, U64),
    st.builds(
        VirtualRef,
        st.text(max_size=20),
        U64,
        U64,
        st.none() | st.text(max_size=5),
        st.none() | st.integers(0, 2**32 - 1),
    ),
)


def sample() -> ChangeSet:
    """One of everything."""
    base = NodeTable.from_nodes([group(1, "/"), array(2, "/a"), array(3, "/b"), group(4, "/g")])
    changes = ChangeSet()
    new = put(changes, base, "/n", array_json((2, 3)))
    put(changes, base, "/a", array_json((7,)))
    put(changes, base, "/g", group_json(title="t"))
    changes.delete_node("/b", base)
    put(changes, base, "/b", group_json())
    changes.set_chunk(new, (1, 2), inline("x"))
    changes.set_chunk(new, (0, 0), VirtualRef("s3://b/k", 5, 6, "etag", 7))
    changes.set_chunk(node_id(2), (0,), NativeRef(bytes(range(12)), 1, 2))
    changes.set_chunk(node_id(2), (5,), None)
    return changes


@given(
    st.integers(0, 3).flatmap(
        lambda ndim: st.dictionaries(st.tuples(*[st.integers(0, 2**32 - 1)] * ndim), REFS, max_size=12)
    )
)
@settings(deadline=None)
def test_chunks_round_trip(refs: dict[tuple[int, ...], ChunkRef | None]) -> None:
    """Refs of every kind and deletions come back unchanged, in any number of dimensions."""
    changes = ChangeSet()
    for coord, ref in refs.items():
        changes.set_chunk(node_id(1), coord, ref)
    assert ChangeSet.from_bytes(changes.to_bytes()).chunks == changes.chunks


def test_everything_round_trips() -> None:
    """Nodes, deletions and chunks come back; the copy shows the same over the same base."""
    base = NodeTable.from_nodes([group(1, "/"), array(2, "/a"), array(3, "/b"), group(4, "/g")])
    changes = sample()
    twin = ChangeSet.from_bytes(changes.to_bytes())
    for part in ("created", "updated", "deleted", "moved", "chunks"):
        assert getattr(twin, part) == getattr(changes, part)
    assert seen(twin, base) == seen(changes, base)
    assert [twin.node(path, base) for path in ["/n", "/a", "/g", "/b"]] == [
        changes.node(path, base) for path in ["/n", "/a", "/g", "/b"]
    ]


def test_moves_round_trip() -> None:
    """A moved node is found at its new path only, after the journey too."""
    base = NodeTable.from_nodes([group(1, "/"), array(2, "/a")])
    changes = ChangeSet()
    changes._place("/a", None)
    changes._place("/z", array(2, "/z"))
    changes.moved[node_id(2)] = Move("/a", "/z", node_id(2), True)
    twin = ChangeSet.from_bytes(changes.to_bytes())
    assert twin.moved == changes.moved
    assert list(seen(twin, base)) == ["/", "/z"]


def test_many_chunks_are_compact() -> None:
    """A native ref costs its columns and no framing of its own."""
    changes = ChangeSet()
    for index in range(10_000):
        changes.set_chunk(node_id(1), (index, 0, 0), NativeRef(bytes(12), index, 4096))
    assert len(changes.to_bytes()) < 10_000 * (12 + 1 + 8 + 8 + 12) + 500


@pytest.mark.parametrize(
    "data", [b"", b"\xc1", b"\x80", b"nonsense", b"\x91" * 5000, msgpack.packb({"magic": 1})]
)
def test_other_bytes_are_refused(data: bytes) -> None:
    """What is no change set is `Corrupt` and names what was read."""
    with pytest.raises(Corrupt, match="my bytes"):
        ChangeSet.from_bytes(data, name="my bytes")


def test_newer_version_says_so() -> None:
    """Bytes of a later release are refused with that reason."""
    tree = msgpack.unpackb(sample().to_bytes())
    with pytest.raises(Corrupt, match="version 3"):
        ChangeSet.from_bytes(msgpack.packb({**tree, "version": 3}))


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_damaged_bytes_never_crash(data: st.DataObject) -> None:
    """Any byte changed or cut off gives `Corrupt` or a change set that can be used."""
    raw = bytearray(sample().to_bytes())
    if data.draw(st.booleans()):
        raw = raw[: data.draw(st.integers(0, len(raw) - 1))]
    else:
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        changes = ChangeSet.from_bytes(bytes(raw))
    except Corrupt:
        return
    seen(changes, NodeTable.from_nodes([group(1, "/")]))
    ChangeSet.from_bytes(changes.to_bytes())


@pytest.mark.parametrize(
    "damage",
    [
        lambda t: t["created"].append(t["created"][0]),
        lambda t: t["created"].append([bytes(8), "/n", b"", None]),
        lambda t: t["updated"].append([bytes(8), "relative", b"", None]),
        lambda t: t["deleted"].append([b"short", "/q", True]),
        lambda t: t["deleted"].append([bytes(8), "/q", 3]),
        lambda t: t["updated"].append([bytes(8), "/q", b"", [[1], [1, 2], None]]),
        lambda t: t["updated"].append([bytes(8), "/q", b"", [[-1], [1], None]]),
        lambda t: t["updated"].append([bytes(8), "/q", b"", [[1], [1], ["x", "y"]]]),
        lambda t: t["chunks"].append(t["chunks"][0]),
        lambda t: t["chunks"].append([bytes(8), None, 1, 2, bytes(8), b"\x03\x03", b"", b"", b"", b"", []]),
        lambda t: t["chunks"].append([bytes(8), None, 1, 1, bytes(4), b"\x09", b"", b"", b"", b"", []]),
        lambda t: t["chunks"].append([bytes(8), None, 0, 1, b"", b"\x00", b"", b"\xff" * 8, b"", b"x", []]),
        lambda t: t["chunks"].append([bytes(8), None, 0, 1, b"", b"\x00", b"", bytes(8), b"", b"x", []]),
        lambda t: t["chunks"].append([bytes(8), None, 0, 1 << 39, b"", b"", b"", b"", b"", b"", []]),
        lambda t: t.pop("chunks"),
        lambda t: t.update(moved=[["/q"]]),
    ],
)
def test_contradictions_are_refused(damage: object) -> None:
    """Bytes that are well-formed but contradict themselves are `Corrupt`."""
    tree = msgpack.unpackb(sample().to_bytes())
    damage(tree)  # type: ignore[operator]
    with pytest.raises(Corrupt):
        ChangeSet.from_bytes(msgpack.packb(tree))
