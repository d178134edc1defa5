"""A backend by somebody else: installed from its own package, opened by its scheme, proven by the suite."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conformance.examples_support import EXAMPLES, install_example, run_suite_command

EXAMPLE = EXAMPLES / "icechunk-sqlite-backend"
HOW_TO = EXAMPLES.parent / "how-to" / "write-a-backend.md"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The example, built and installed into a directory; an environment in which Python finds it."""
    return install_example("icechunk-sqlite-backend", tmp_path_factory.mktemp("site"))


def test_the_how_to_shows_the_files() -> None:
    """Module and project file are in the how-to as they are."""
    text = HOW_TO.read_text(encoding="utf-8")
    for name, language in {"icechunk_sqlite_backend.py": "python", "pyproject.toml": "toml"}.items():
        source = (EXAMPLE / name).read_text(encoding="utf-8")
        assert f"```{language}\n{source}```" in text, f"docs/how-to/write-a-backend.md shows another {name}"


def test_it_is_about_a_hundred_lines() -> None:
    """A backend stays that small."""
    lines = (EXAMPLE / "icechunk_sqlite_backend.py").read_text(encoding="utf-8").splitlines()
    assert sum(bool(line.strip()) for line in lines) <= 130


def test_it_opens_by_its_scheme(installed: dict[str, str], tmp_path: Path) -> None:
    """``sqlite:`` opens it without any mention of it in icechunk-core; what one process wrote another one
    reads."""
    url = f"sqlite://{(tmp_path / 'objects.db').as_posix()}"
    write = "await storage.put('a/b', b'hello')"
    read = "print(bytes((await storage.get_range('a/b'))[0]), [info.key async for info in storage.list()])"
    for statement, output in ((write, ""), (read, "b'hello' ['a/b']")):
        program = (
            "import asyncio\nfrom icechunk_core.storage import storage_from_url\n"
            f"async def main():\n    storage = storage_from_url({url!r})\n"
            f"    {statement}\n    await storage.close()\n"
            "asyncio.run(main())"
        )
        run = subprocess.run(
            [sys.executable, "-c", program], env=installed, capture_output=True, text=True, check=False
        )
        assert run.returncode == 0, run.stderr
        assert run.stdout.strip() == output


def test_it_is_commit_safe(installed: dict[str, str], tmp_path: Path) -> None:
    """The suite, run as a command on its URL, gives it more than Commit-safe: Production."""
    url = f"sqlite://{(tmp_path / 'objects.db').as_posix()}"
    run = run_suite_command(installed, url, "--json", "--require", "Commit-safe")
    assert run.returncode == 0, run.stdout + run.stderr
    report = json.loads(run.stdout)
    assert report["level"] == "Production"
    assert report["capabilities"]["atomicity"] == "process"
