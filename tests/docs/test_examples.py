"""The examples in README and docs work as printed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs import commands
from tests.docs.examples import EXECUTED, examples_of, run_page

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
# A package of its own: tests/conformance/test_third_party_backend.py installs and runs it.
ELSEWHERE = {DOCS / "how-to" / "write-a-backend.md"}
ALL_PAGES = [
    page
    for page in [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
    if "examples" not in page.parts and page not in ELSEWHERE
]
PAGES = [page for page in ALL_PAGES if examples_of(page)]
OPTIONAL = ("iris_sample_data", "kerchunk", "virtualizarr")
"""Packages that are not there for every version of Python that the tests run with."""
SHOWN = {"text", "toml", "yaml", "json", "py3", ""}
"""Kinds of blocks that are shown: output, files of other programs, excerpts of code with its own tests."""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_examples_of_a_page(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All examples of a page run in order, and print what the page says."""
    if any(re.search(r"^import icechunk$", each.code, re.MULTILINE) for each in examples_of(page)):
        pytest.importorskip("icechunk", minversion="2")
    text = page.read_text(encoding="utf-8")
    for package in OPTIONAL:
        if re.search(rf"^(from|import) {package}\b", text, re.MULTILINE):
            pytest.importorskip(package)
    monkeypatch.chdir(tmp_path)
    assert run_page(page) > 0


def test_the_pages_with_examples_are_found() -> None:
    """The runner sees README, the tutorial and the how-to pages."""
    names = {page.name for page in PAGES}
    assert {"README.md", "tutorial.md", "travel-in-time.md", "write-concurrently.md"} <= names


def test_a_wrong_output_is_noticed(tmp_path: Path) -> None:
    """A page whose example prints something else fails, and the message names page and line."""
    page = tmp_path / "page.md"
    page.write_text("# Page\n\n```python\nprint(1 + 1)\n```\n\n```text\n3\n```\n")
    with pytest.raises(AssertionError, match=r"page\.md:4 prints\n2"):
        run_page(page)


def test_modules_can_be_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ``py`` block is a module: its functions pickle, and later examples know them."""
    monkeypatch.chdir(tmp_path)
    page = tmp_path / "page.md"
    page.write_text(
        "```py\ndef double(x):\n    return 2 * x\n```\n\n"
        "```python\nimport pickle\nprint(pickle.loads(pickle.dumps(double))(4))\n```\n\n```text\n8\n```\n"
    )
    assert run_page(page) == 2


@pytest.mark.parametrize(
    ("command", "complaint"),
    [
        ("icechunk-core dance s3://b/p", "no command dance"),
        ("icechunk-core log s3://b/p --backwards", "--backwards"),
        ("icechunk-core log nowhere", "ended with 3"),
        ("make coffee", "no .'coffee'"),
        ("pip install 'icechunk-core[s3,coffee]'", "coffee"),
        ("python -m icechunk_conformance s3://b/p --coffee", "--coffee"),
        ("brew coffee", "nothing checks the command brew"),
    ],
)
def test_a_wrong_command_is_noticed(
    command: str, complaint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command that does not exist, has no such option, or fails, fails the page."""
    pytest.importorskip("typer")
    monkeypatch.chdir(tmp_path)
    page = tmp_path / "page.md"
    page.write_text(f"```sh\n{command}\n```\n")
    with pytest.raises(AssertionError, match=complaint):
        run_page(page)


def test_commands_are_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands on local storages are run, and what they print is compared."""
    pytest.importorskip("typer")
    monkeypatch.chdir(tmp_path)
    page = tmp_path / "page.md"
    page.write_text(
        "```sh\nicechunk-core create here\nicechunk-core branch list here\n```\n\n```text\nno\n```\n"
    )
    with pytest.raises(AssertionError, match="main"):
        run_page(page)
    assert (tmp_path / "here" / "repo").exists()


@pytest.mark.parametrize("page", ALL_PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_block_is_left_out(page: Path) -> None:
    """Each fenced block is executed, is what the one before it prints, or is of a kind that nobody runs."""
    fences = re.findall(r"^( *)(`{3,})(\w*)", page.read_text(encoding="utf-8"), re.MULTILINE)
    opening = fences[::2]
    assert all(not indent and len(ticks) == 3 for indent, ticks, _ in fences), (
        "a block that the runner misses"
    )
    assert {language for _, _, language in opening} <= {*EXECUTED, *SHOWN}


@pytest.mark.parametrize("page", ALL_PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_in_the_text_exist(page: Path) -> None:
    """Commands that the text names, with their options, are ones that there are."""
    pytest.importorskip("typer")
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for found in re.findall(r"`((?:icechunk-core|pip|make|python -m) [^`…]+)`", text):
        for command in commands.commands_of(found):
            commands.check(command)


def test_the_readme_example_is_short() -> None:
    """README's example stays within the promised size: ten statements, give or take the prints."""
    (example,) = (each for each in examples_of(ROOT / "README.md") if each.language == "python")
    assert len([line for line in example.code.splitlines() if line.strip()]) <= 16
