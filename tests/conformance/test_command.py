"""``python -m icechunk_conformance``."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from icechunk_conformance.__main__ import main


def test_a_storage_that_passes(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit status 0, a line per check, and a verdict."""
    assert main(["memory:"]) == 0
    output = capsys.readouterr().out
    assert "ok   A01" in output
    assert "Level: Commit-safe" in output


def test_json_and_selection(capsys: pytest.CaptureFixture[str]) -> None:
    """``--json`` prints a document of the selected checks."""
    assert main(["memory:", "--json", "--only", "B01,E"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert {each["id"][0] for each in document["checks"]} == {"B", "E"}
    assert document["level"] is None


def test_a_required_level(capsys: pytest.CaptureFixture[str]) -> None:
    """``--require`` makes a lower level a failure, though no check failed."""
    assert main(["memory:", "--require", "Commit-safe"]) == 0
    assert main(["memory:?read_only=true", "--require", "Commit-safe"]) == 1
    assert "Level: None" in capsys.readouterr().out


def test_a_read_only_storage_and_its_writable_twin(capsys: pytest.CaptureFixture[str]) -> None:
    """With a storage that writes to the same place a read-only one reaches Read."""
    twin = ["--writable-twin", "memory:twins"]
    assert main(["memory:twins?read_only=true", *twin, "--require", "Read", "--label", "Twins 1.0"]) == 0
    output = capsys.readouterr().out
    assert "Level: Read" in output
    assert "Single-writer is not given: it is read-only" in output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nosuchscheme://x"], "nosuchscheme"),
        (["memory:", "--only", "Z9"], "Z9"),
        ([], "memory:"),
    ],
)
def test_what_cannot_start(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit status 2 and a reason, when nothing was tested."""
    assert main(arguments) == 2
    assert words in capsys.readouterr().err


def test_the_list_of_checks(capsys: pytest.CaptureFixture[str]) -> None:
    """``--list`` shows ids, titles and what they require."""
    assert main(["--list"]) == 0
    output = capsys.readouterr().out
    assert "E02  IfAbsent never overwrites  [create]" in output


def test_as_a_command(tmp_path: Path) -> None:
    """It runs as a module, on a directory, and leaves no object behind."""
    run = subprocess.run(
        [sys.executable, "-m", "icechunk_conformance", tmp_path.as_uri(), "--only", "A,F10"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert "ok   F10" in run.stdout
    left = [path for path in tmp_path.rglob("*") if path.is_file() and ".icechunk-core" not in path.parts]
    assert left == []
