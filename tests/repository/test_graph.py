"""The history as a picture."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

import icechunk_core as ic
from icechunk_core.transaction.graph import layout_graph
from icechunk_core.transaction.graph_svg import draw_graph
from tests.repository.programs import commit_group
from tests.transaction.repo_model import info_of

SVG = "{http://www.w3.org/2000/svg}"


def without_colour(text: str) -> str:
    return re.sub(r"\x1b\[\d+m", "", text)


def ids(text: str) -> list[str]:
    """The shortened ids, from the top."""
    return re.findall(r"\b[0-9A-Z]{8}\b", without_colour(text))


@pytest.fixture
def forked(repo: ic.Repository) -> tuple[ic.Repository, dict[str, str]]:
    """Two branches on one commit, and a tag."""
    made = {"first": commit_group(repo, "a")}
    repo.create_branch("dev", made["first"])
    made["main"] = commit_group(repo, "b", "main")
    made["dev"] = commit_group(repo, "c", "dev")
    repo.create_tag("v1", made["first"])
    return repo, made


def test_colours_unless_plain(forked: tuple[ic.Repository, dict[str, str]]) -> None:
    """Printed, the graph has colours; ``plain`` gives the same text without."""
    repo, made = forked
    coloured, plain = str(repo.ancestry_graph()), str(repo.ancestry_graph(plain=True))
    assert "\x1b[" in coloured
    assert "\x1b" not in plain
    # Colours also mark blanks at the ends of lines.
    assert [line.rstrip() for line in without_colour(coloured).splitlines()] == plain.splitlines()
    assert plain == (
        f"  ● {made['dev'][:8]} (dev) add c\n"
        "  │\n"
        f"● │ {made['main'][:8]} (main) add b\n"
        "│ │\n"
        f"●─╯ {made['first'][:8]} (tag: v1) add a\n"
        "│\n"
        "● 1CECHNKR Repository initialized"
    )


def test_one_line_of_descent(forked: tuple[ic.Repository, dict[str, str]]) -> None:
    """A branch, a tag or a snapshot selects what it descends from."""
    repo, made = forked
    line = [made["dev"][:8], made["first"][:8], "1CECHNKR"]
    assert ids(str(repo.ancestry_graph(branch="dev"))) == line
    assert ids(str(repo.ancestry_graph(tag="v1"))) == line[1:]
    assert ids(str(repo.ancestry_graph(snapshot_id=made["dev"]))) == line
    drawing = repo.ancestry_graph(branch="dev")._repr_svg_()
    assert made["main"][:8] not in drawing
    with pytest.raises(ValueError, match="one of branch"):
        repo.ancestry_graph(branch="dev", tag="v1")
    with pytest.raises(ic.RefNotFoundError):
        repo.ancestry_graph(branch="nowhere")


def test_what_no_ref_reaches_is_left_out(repo: ic.Repository) -> None:
    """Commits that a reset left behind are not drawn."""
    lost = commit_group(repo, "a")
    repo.reset_branch("main", "1CECHNKREP0F1RSTCMT0")
    assert ids(str(repo.ancestry_graph())) == ["1CECHNKR"]
    assert ids(str(repo.ancestry_graph(snapshot_id=lost))) == [lost[:8], "1CECHNKR"]


def test_the_drawing_says_the_same_as_the_text(forked: tuple[ic.Repository, dict[str, str]]) -> None:
    """The SVG has each snapshot once, in the same order, with its refs and message."""
    repo, _ = forked
    graph = repo.ancestry_graph()
    root = ElementTree.fromstring(graph._repr_svg_())
    texts = ["".join(text.itertext()) for text in root.iter(f"{SVG}text")]
    assert texts == [re.sub(r"^[●│─╯ ]+", "", line) for line in without_colour(str(graph)).splitlines()[::2]]
    assert len(list(root.iter(f"{SVG}path"))) == 3
    assert len({path.get("stroke") for path in root.iter(f"{SVG}path")}) == 2


def test_a_plain_drawing_has_no_colours(forked: tuple[ic.Repository, dict[str, str]]) -> None:
    """It takes the colour of the text around it."""
    repo, _ = forked
    drawing = repo.ancestry_graph(plain=True)._repr_svg_()
    assert "#" not in drawing
    assert "#" in repo.ancestry_graph()._repr_svg_()


def test_text_from_storage_cannot_break_the_document() -> None:
    """Messages and names of refs are escaped and without control characters."""
    info = info_of(1, message="</text><script>\x1b[31m\x00 & \ud800")
    root = ElementTree.fromstring(draw_graph([info], {info.id: ["<b>", "tag: \x07&"]}))
    (text,) = ["".join(text.itertext()) for text in root.iter(f"{SVG}text")]
    assert "</text><script>" in text
    assert "<b>" in text
    assert not any(ord(letter) < 32 for letter in text)


def test_nothing_to_draw() -> None:
    """An empty drawing is a document too."""
    assert ElementTree.fromstring(draw_graph([], {})).tag == f"{SVG}svg"


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 5)), max_size=25))
def test_drawings_are_consistent(choices: list[tuple[int, int]]) -> None:
    """One circle per snapshot, no two in one place; one line per child, from its circle to its parent's."""
    infos = [info_of(1)]
    for number, (parent, time) in enumerate(choices, start=2):
        infos.append(info_of(number, parent % len(infos) + 1, time + 1))
    nodes = {node.info.id: node for node in layout_graph(infos, {})}
    assert sorted(node.row for node in nodes.values()) == list(range(len(infos)))
    root = ElementTree.fromstring(draw_graph(infos, {}))
    places = {(circle.get("cx"), circle.get("cy")) for circle in root.iter(f"{SVG}circle")}
    assert len(places) == len(infos)
    edges = set()
    for path in root.iter(f"{SVG}path"):
        numbers = re.findall(r"\d+", path.get("d") or "")
        start, end = (numbers[0], numbers[1]), (numbers[-2], numbers[-1])
        if "C" not in (path.get("d") or ""):
            end = (numbers[0], numbers[-1])
        assert {start, end} <= places
        edges.add((start, end))
    place = {key: (str(15 + 20 * node.column), str(15 + 28 * node.row)) for key, node in nodes.items()}
    assert edges == {(place[i.id], place[i.parent_id]) for i in infos if i.parent_id is not None}


async def test_the_async_twin(repo: ic.Repository) -> None:
    """It takes the same arguments."""
    assert str(await repo.ancestry_graph_async(plain=True)) == str(repo.ancestry_graph(plain=True))
    assert ids(str(await repo.ancestry_graph_async(branch="main", plain=True))) == ["1CECHNKR"]
