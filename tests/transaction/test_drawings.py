"""History graphs and trees as text."""

from __future__ import annotations

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from icechunk_core.format.base32 import encode
from icechunk_core.format.repo_info import SnapshotInfo
from icechunk_core.transaction.graph import newest_first, render_graph
from icechunk_core.transaction.tree import render_tree
from tests.transaction.model import array, group, object_id
from tests.transaction.repo_model import info_of


def draw(infos: list[SnapshotInfo], refs: dict[int, list[str]]) -> list[str]:
    """The lines of a graph, ids replaced by the snapshots' numbers."""
    text = render_graph(infos, {object_id(number): labels for number, labels in refs.items()})
    return text.splitlines()


def named(number: int, parent: int | None, message: str) -> SnapshotInfo:
    """A snapshot whose shown id differs from the others' in its first letters."""
    return SnapshotInfo(
        bytes([number]) * 12, None if parent is None else bytes([parent]) * 12, number, message, {}
    )


def test_one_line() -> None:
    """A line of commits is one column, newest first."""
    infos = [named(1, None, "first"), named(2, 1, "second")]
    one, two = (encode(info.id)[:8] for info in infos)
    text = render_graph(infos, {infos[1].id: ["main", "tag: v1"]})
    assert text.splitlines() == [f"● {two} (main, tag: v1) second", "│", f"● {one} first"]


def test_branches_join() -> None:
    """Branches are columns that join at their common ancestor, with main leftmost."""
    infos = [
        named(1, None, "root"),
        named(2, 1, "on main"),
        named(3, 1, "on dev"),
        named(4, 1, "on test"),
        named(5, 2, "tip"),
    ]
    refs = {infos[4].id: ["main"], infos[2].id: ["dev"], infos[3].id: ["test"]}
    names = [encode(info.id)[:8] for info in infos]
    assert render_graph(infos, refs).splitlines() == [
        f"● {names[4]} (main) tip",
        "│",
        f"│ ● {names[3]} (test) on test",
        "│ │",
        f"│ │ ● {names[2]} (dev) on dev",
        "│ │ │",
        f"● │ │ {names[1]} on main",
        "│ │ │",
        f"●─┴─╯ {names[0]} root",
    ]


def test_main_is_leftmost_even_if_older() -> None:
    """The trunk's column is kept free for it while newer branches are drawn."""
    infos = [named(1, None, "root"), named(2, 1, "main"), named(3, 1, "dev")]
    names = [encode(info.id)[:8] for info in infos]
    assert render_graph(infos, {infos[1].id: ["main"], infos[2].id: ["dev"]}).splitlines() == [
        f"  ● {names[2]} (dev) dev",
        "  │",
        f"● │ {names[1]} (main) main",
        "│ │",
        f"●─╯ {names[0]} root",
    ]


def test_colours_only_when_asked() -> None:
    """Without colour there is no escape sequence; with it the text is the same."""
    infos = [named(1, None, "root"), named(2, 1, "a"), named(3, 1, "b")]
    refs = {infos[1].id: ["main"]}
    plain, coloured = render_graph(infos, refs), render_graph(infos, refs, color=True)
    assert "\x1b" not in plain
    assert "\x1b[" in coloured
    stripped = coloured
    for code in (*range(31, 37), 0, 1, 2):
        stripped = stripped.replace(f"\x1b[{code}m", "")
    assert [line.rstrip() for line in stripped.splitlines()] == plain.splitlines()


def test_messages_cannot_drive_the_terminal() -> None:
    """Only the first line of a message is shown, shortened, without control characters."""
    (line,) = render_graph([info_of(1, message="bad\x1b[31m\x07" + "x" * 200 + "\nsecond")], {}).splitlines()
    assert "\x1b" not in line
    assert "second" not in line
    assert len(line) < 90


def test_no_history() -> None:
    """Nothing to draw is an empty text."""
    assert render_graph([], {}) == ""


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 5)), max_size=25))
def test_children_before_parents(choices: list[tuple[int, int]]) -> None:
    """Every snapshot is drawn once and above its parent, whatever the times say."""
    infos = [info_of(1)]
    for number, (parent, time) in enumerate(choices, start=2):
        infos.append(info_of(number, parent % len(infos) + 1, time + 1))
    order = [info.id for info in newest_first(infos)]
    assert sorted(order) == sorted(info.id for info in infos)
    position = {snapshot_id: index for index, snapshot_id in enumerate(order)}
    assert all(position[i.id] < position[i.parent_id] for i in infos if i.parent_id is not None)
    rows = render_graph(infos, {}).splitlines()
    assert sum(row.count("●") for row in rows) == len(infos)


def test_tree() -> None:
    """Groups and arrays with shape and type; groups that exist only by their members are marked."""
    nodes = [
        group(1, "/"),
        array(2, "/t", (3, 4)),
        group(3, "/g"),
        array(4, "/g/x", ()),
        array(5, "/lost/deep/y", (1,)),
    ]
    assert render_tree(nodes).splitlines() == [
        "/",
        "├── g",
        "│   └── x () int8",
        "├── lost ?",
        "│   └── deep ?",
        "│       └── y (1,) int8",
        "└── t (3, 4) int8",
    ]


def test_trees_of_little() -> None:
    """An empty hierarchy, a root array, and names that are not printable."""
    assert render_tree([]) == "/"
    assert render_tree([array(1, "/", (2,))]) == "/ (2,) int8"
    assert "\x1b" not in render_tree([group(1, "/a\x1b[31m")])


def test_deep_tree() -> None:
    """Depth is no limit."""
    path = "/a" * 3000
    assert render_tree([group(1, path)]).count("\n") == 3000


@given(st.lists(st.text(max_size=80), min_size=1, max_size=6), st.sets(st.integers(0, 5)), st.booleans())
def test_one_line_of_descent_is_drawn_as_part_of_a_larger_graph(
    messages: list[str], labelled: set[int], color: bool
) -> None:
    """A straight history, which is drawn in one pass, looks as it does when lines are followed one by one."""
    line = [
        evolve(info_of(number + 1, number or None), message=text) for number, text in enumerate(messages)
    ][::-1]
    refs = {
        line[place].id: ["main" if place == 0 else f"tag: {place}"] for place in labelled if place < len(line)
    }
    apart = info_of(50)  # an older snapshot below, which makes it more than one line
    apart = evolve(apart, flushed_at=-1)
    alone = render_graph(line, refs, color=color)
    together = render_graph([*line, apart], refs, color=color)
    assert together.startswith(alone)
