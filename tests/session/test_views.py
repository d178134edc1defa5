"""Drawings of what a session holds."""

from __future__ import annotations

import re

import numpy as np
import pytest
import zarr

import icechunk_core as ic
from icechunk_core.format.chunk_refs import ChunkRefs, InlineRef, NativeRef, VirtualRef
from icechunk_core.session.views import map_chunks


def _session() -> ic.Session:
    session = ic.Repository.create("memory:").writable_session("main")
    root = zarr.create_group(session.store)
    group = root.create_group("ocean")
    group.create_array("temp", shape=(4, 6), chunks=(1, 2), dtype="f4", compressors=None)[:2] = 1
    root.create_array("time", shape=(3,), dtype="i8")
    return session


def test_trees_show_nodes() -> None:
    """The tree shows groups, and arrays with shape and data type; also uncommitted ones."""
    assert repr(_session().tree()) == "\n".join(
        ["/", "├── ocean", "│   └── temp (4, 6) float32", "└── time (3,) int64"]
    )


def test_trees_of_a_part() -> None:
    """A tree can begin anywhere; where nothing is, an error says so."""
    session = _session()
    assert repr(session.tree("/ocean")) == "/ocean\n└── temp (4, 6) float32"
    assert repr(session.tree("/ocean/temp/")) == "/ocean/temp (4, 6) float32"
    with pytest.raises(ic.NodeNotFoundError, match="nowhere"):
        session.tree("/nowhere")


def test_trees_escape_markup() -> None:
    """Names in the HTML cannot be markup."""
    session = _session()
    zarr.open_group(session.store).create_group("<b>")
    assert "&lt;b&gt;" in session.tree()._repr_html_()


def test_chunk_maps_count() -> None:
    """A chunk map counts the chunks by where they are, and those never written, and draws the grid."""
    found = _session().chunk_map("/ocean/temp")
    assert (found.total, found.missing) == (12, 6)
    assert found.counts == {"native": 0, "virtual": 0, "inline": 6}
    assert found.sizes["inline"] == 6 * 8
    lines = repr(found).splitlines()
    assert lines[0] == "/ocean/temp: 4 × 3 chunks; 6 inline (48 bytes), 6 missing"
    assert lines[1:5] == ["●●●", "●●●", "···", "···"]
    assert len(re.findall(r"M\d+ \d+h", found._repr_html_())) == 12


def test_chunk_maps_of_groups() -> None:
    """A group has no chunk map."""
    with pytest.raises(ic.NodeNotFoundError):
        _session().chunk_map("/ocean")


def test_chunk_maps_of_all_kinds() -> None:
    """Kinds have letters of their own; what lies behind one another shares a cell, drawn as partly there."""
    refs = ChunkRefs.from_items(
        3,
        {
            (0, 0, 0): NativeRef(bytes(12), 0, 10),
            (1, 0, 0): NativeRef(bytes(12), 10, 10),
            (0, 0, 1): VirtualRef("s3://bucket/key", 0, 7),
            (1, 1, 1): InlineRef(b"abc"),
        },
    )
    found = map_chunks("/a", (2, 2, 2), [refs])
    assert repr(found).splitlines()[1:3] == ["█◇", "·○"]
    assert found.sizes == {"native": 20, "virtual": 7, "inline": 3}


def test_large_grids_are_drawn_small() -> None:
    """Millions of chunks make a drawing of bounded size; all of them count."""
    side = 1000
    y, x = np.divmod(np.arange(side * side // 2), side)
    coords = np.stack([y, x], axis=1)
    ids = np.zeros((len(coords), 12), np.uint8)
    refs = ChunkRefs.native(coords, ids, np.zeros(len(coords)), np.full(len(coords), 5))
    found = map_chunks("/big", (side, side), [refs])
    lines = repr(found).splitlines()
    assert len(lines) == 26
    assert max(map(len, lines[1:-1])) == 72
    assert lines[1] == "█" * 72
    assert lines[24] == "·" * 72
    assert found.counts["native"] == side * side // 2
    html = found._repr_html_()
    assert len(re.findall(r"M\d+ \d+h", html)) == 120 * 60
    assert len(html) < 200_000


def test_scalars_have_one_chunk() -> None:
    """An array without dimensions has a grid of one chunk."""
    refs = ChunkRefs.from_items(0, {(): InlineRef(b"x")})
    found = map_chunks("/scalar", (), [refs])
    assert (found.total, found.missing) == (1, 0)
    assert repr(found).splitlines()[1] == "●"
