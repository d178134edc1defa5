"""``storage verify``: the right verdict on every broken storage, and none on what cannot be reached."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

pytest.importorskip("typer")

from icechunk_conformance import Location, Report, Result, Status, all_checks
from icechunk_conformance.broken import Broken, gallery
from icechunk_conformance.broken.gallery import SECRET
from icechunk_conformance.report import Level
from icechunk_conformance.runner import find_out_why_not
from icechunk_conformance.workers import WorkerPool
from icechunk_core.cli.app import run
from icechunk_core.cli.exit_codes import ExitCode
from tests.conformance.conftest import workers
from tests.conformance.support import GALLERY_BUDGET

__all__ = ["workers"]

KEYS = ["-o", "access_key_id=a", "-o", "secret_access_key=b"]
ENTRIES = {entry.name: entry for entry in gallery()}


def level_of(entry: Broken) -> Level:
    """What a storage may still be used for, by the groups of the checks that catch it."""
    groups = {id[0] for id in entry.caught_by}
    if groups & set("ABCD"):
        return Level.NONE
    if "E" in groups:
        return Level.READ
    return Level.SINGLE_WRITER if groups & set("FG") else Level.COMMIT_SAFE


@pytest.mark.parametrize("entry", gallery(), ids=lambda entry: entry.name)
def test_no_broken_storage_gets_more_than_it_deserves(entry: Broken) -> None:
    """With the failures that an entry of the gallery must have, the verdict is the level below the first
    group that failed, whatever the entry declares; and the suite does begin: it is not out of reach."""
    location = Location(entry.backend.opener(SECRET), budget=GALLERY_BUDGET)
    twin = location.twin is not None
    results = []
    for check in all_checks():
        missing = check.missing(location.capabilities, twin=twin) is not None
        status = Status.NOT_CALLED_FOR if missing else Status.PASSED
        results.append(Result(check, Status.FAILED if check.id in entry.caught_by else status))
    report = Report(
        storage="",
        capabilities=location.capabilities,
        results=results,
        budget="gallery",
        complete=True,
        seconds=0.0,
        transport=location.transport,
        left="",
    )
    assert report.level is not None
    assert report.level <= level_of(entry)
    assert not report.passed

    async def begin() -> str | None:
        try:
            return await find_out_why_not(location)
        finally:
            await location.cleanup()

    assert asyncio.run(begin()) is None


@pytest.mark.slow
@pytest.mark.parametrize("name", ["create-over-empty", "racy-update"])
def test_the_command_on_broken_storages(
    name: str, workers: WorkerPool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command ends with 1, gives the level that is left, and names the checks that failed."""
    entry = ENTRIES[name]
    opener = entry.backend.opener(SECRET)
    monkeypatch.setattr(
        Location, "from_url", lambda url, **_: Location(opener, budget=GALLERY_BUDGET, workers=workers)
    )
    assert run(["storage", "verify", f"broken:{name}", "--json"]) == ExitCode.FOUND_PROBLEMS
    report = json.loads(capsys.readouterr().out)
    assert report["level"] == level_of(entry).label
    failed = {check["id"] for check in report["checks"] if check["status"] == "failed"}
    assert entry.caught_by <= failed


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["s3://bucket/x?endpoint_url=http://127.0.0.1:9&allow_http=true&region=x", *KEYS],
            "cannot connect",
        ),
        (["/proc/nowhere"], "nothing can be put there"),
        (["memory:", "-o", "nosuch=1"], "there is no option 'nosuch'"),
        (["memory:", "-o", "nosuch"], "is not NAME=VALUE"),
    ],
)
def test_what_cannot_be_reached_is_not_judged(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Wrong addresses, places where nothing can be put, and wrong options end with 2 and the reason; there is
    no verdict about a storage that nobody spoke to."""
    assert run(["storage", "verify", *arguments]) == ExitCode.USAGE
    captured = capsys.readouterr()
    assert words in captured.err
    assert "Level" not in captured.out


def test_paths_and_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A directory is named by its path, and options as in the other commands; nothing is left behind."""
    place = tmp_path / "here"
    code = run(["storage", "verify", str(place), "-o", "durable=false", "--only", "A01,E02", "--json"])
    assert code == ExitCode.OK
    report = json.loads(capsys.readouterr().out)
    assert "durable=False" in report["storage"]
    assert [path for path in place.rglob("*") if path.is_file() and "conformance" in str(path)] == []


def test_the_help_names_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    """``--help`` shows the suite's own arguments, under the name that was typed."""
    assert run(["storage", "verify", "--help"]) == ExitCode.OK
    assert capsys.readouterr().out.startswith("usage: icechunk-core storage verify")
