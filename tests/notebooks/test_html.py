"""What values show in notebooks: well formed, escaped, bounded, and the same on every theme."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import zarr

import icechunk_core as ic
from icechunk_core.format.repo_info import SnapshotInfo
from icechunk_core.format.snapshot import NodeSnapshot
from icechunk_core.repository.graph import AncestryGraph
from icechunk_core.session.views import NodeTree, map_chunks
from icechunk_core.transaction.diff import Diff
from tests.notebooks.markup import check
from tests.transaction.model import array, group, object_id

EVIL = "<script>alert('x')</script>&amp;\"\x1b[31m</div></svg>"
ROOT = Path(__file__).parents[2]


def pictures() -> ModuleType:
    """The script that makes the documentation's pictures."""
    spec = importlib.util.spec_from_file_location("notebook_pictures", ROOT / "docs/images/notebook.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def values() -> dict[str, Any]:
    """A value of each kind that shows itself."""
    found: dict[str, Any] = pictures().example()
    found["repo.effective_config()"] = found["repo"].effective_config()
    found["repo.storage"] = found["repo"].storage
    return found


def evil() -> Iterator[tuple[str, Any]]:
    """Values with markup wherever a user or a storage may have put text."""
    repo = ic.Repository.create("memory:" + EVIL.replace("/", "|"))
    session = repo.writable_session("main")
    root = zarr.create_group(session.store)
    name = EVIL.replace("/", "|").replace("\x1b", "")
    root.create_array(name, shape=(4,), chunks=(1,), dtype="i4", dimension_names=[EVIL])[:2] = 1
    yield "status", session.status()
    yield "tree", session.tree()
    yield "map", session.chunk_map(f"/{name}")
    yield "session", session
    snapshot = session.commit(EVIL, {"note": EVIL})
    repo.create_tag(name, snapshot)
    repo.create_branch(name.replace("<", "‹"), snapshot)
    yield "store", repo.readonly_session("main").store
    yield "graph", repo.ancestry_graph()
    yield "snapshot", repo.lookup_snapshot(snapshot)
    yield "operation", next(iter(repo.ops_log()))
    yield "repo", repo
    yield "config", ic.RepositoryConfig(storage=ic.StorageSettings(storage_class=EVIL))
    yield "effective", repo.effective_config()
    yield "verified", repo.verify()
    repo.set_status(ic.RepoStatus(ic.RepoAvailability.read_only, limited_availability_reason=EVIL))
    yield "repo status", repo.get_status()


def test_everything_is_well_formed(values: dict[str, Any]) -> None:
    """Each element ends where it should; there are no scripts, and nothing comes from the network."""
    for value in values.values():
        check(value._repr_html_())


def test_text_of_users_is_escaped() -> None:
    """Names, messages, metadata and reasons with markup in them are shown as text."""
    for name, value in evil():
        html = value._repr_html_()
        check(html)
        assert "<script" not in html.lower(), name
        assert "\x1b" not in html, name


def test_long_histories_are_cut() -> None:
    """Of 10,000 snapshots the newest are drawn, and the drawing says how many are left out."""
    infos = tuple(
        SnapshotInfo(object_id(number), object_id(number - 1) if number > 1 else None, number, "x" * 500, {})
        for number in range(1, 10_001)
    )
    graph = AncestryGraph(infos, {object_id(10_000): ["main"], object_id(5): ["old"]}, plain=False)
    html = graph._repr_html_()
    check(html)
    assert len(html) < 150_000
    assert "10,000 snapshots" in html
    assert "… 9,850 older ones" in html
    assert html.count("<circle") == 150


def test_large_hierarchies_are_cut() -> None:
    """Of 5,000 arrays in groups the first of each group are shown, and how many more there are."""
    nodes: list[NodeSnapshot] = [group(0, "/")]
    for number in range(5):
        nodes.append(group(10_000 + number, f"/g{number}"))
        nodes += [array(1000 * number + n + 1, f"/g{number}/a{n:04}", (7,)) for n in range(1000)]
    html = NodeTree(nodes)._repr_html_()
    check(html)
    assert len(html) < 150_000
    assert "6 groups, 5,000 arrays" in html
    assert "… 900 more" in html


def test_deep_hierarchies_are_cut() -> None:
    """A hierarchy a thousand levels deep is shown down to a level that a browser bears."""
    path, nodes = "", [group(0, "/")]
    for number in range(1, 1001):
        path += f"/g{number}"
        nodes.append(group(number, path))
    html = NodeTree(nodes)._repr_html_()
    check(html)
    assert html.count("<details") < 20
    assert "deeper ones not shown" in html


def test_large_differences_are_cut() -> None:
    """Of thousands of changed paths the first are shown; all are counted."""
    paths = {f"/a{number:05}" for number in range(5000)}
    chunks = {path: np.arange(20, dtype=np.uint32).reshape(10, 2) for path in paths}
    html = Diff(new_arrays=paths, chunks=chunks)._repr_html_()
    check(html)
    assert len(html) < 60_000
    assert html.count("… 4,900 more") == 2
    assert ">50,000<" in html


def test_large_chunk_maps_are_small() -> None:
    """A map of a million chunks is a drawing of bounded size."""
    html = map_chunks("/a", (1000, 1000), [])._repr_html_()
    check(html)
    assert len(html) < 200_000


def test_values_are_not_endless() -> None:
    """Metadata of megabytes are cut."""
    repo = ic.Repository.create("memory:")
    session = repo.writable_session("main")
    zarr.create_group(session.store)
    snapshot = session.commit("x" * 100_000, {"note": "y" * 1_000_000})
    assert len(repo.lookup_snapshot(snapshot)._repr_html_()) < 20_000


def test_showing_asks_for_nothing(values: dict[str, Any]) -> None:
    """Showing a repository, a session or a store makes no request."""
    repo = values["repo"]
    before = repo.io_stats.requests
    for name in ("repo", "session", "session.store"):
        values[name]._repr_html_()
    assert repo.io_stats.requests == before


def test_colours_suit_light_and_dark_pages(values: dict[str, Any]) -> None:
    """Text has the page's colour; nothing sets a text colour or an opaque background of its own but marks."""
    html = "".join(value._repr_html_() for value in values.values())
    style = html[html.index("<style>") : html.index("</style>")]
    assert "color:#" not in style
    assert "currentColor" in html
    assert "black" not in html
    assert "white-space" in style


def test_plots() -> None:
    """Chunk maps and histories plot with matplotlib, on given axes or on new ones."""
    matplotlib = pytest.importorskip("matplotlib", reason="plots need matplotlib")
    matplotlib.use("Agg")
    from matplotlib import pyplot

    repo = ic.Repository.create("memory:")
    session = repo.writable_session("main")
    array = zarr.create_array(session.store, name="a", shape=(4, 6), chunks=(1, 2), dtype="f4")
    array[:2] = 1
    axes = session.chunk_map("/a").plot()
    assert axes.get_title() == "/a (4 × 3 chunks)"
    assert axes.images[0].get_array().shape == (4, 3, 4)
    session.commit("one")
    axes = repo.ancestry_graph().plot(pyplot.figure().add_subplot())
    assert axes.lines[0].get_ydata().tolist() == [1, 2]
    pyplot.close("all")


def test_plots_without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without matplotlib the error says what to install."""
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    with pytest.raises(ic.InvalidInputError, match="pip install matplotlib"):
        ic.Repository.create("memory:").ancestry_graph().plot()
