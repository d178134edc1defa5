"""The example on fsspec: a backend over a library that can do less than a repository needs, and says so."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conformance.examples_support import install_example, run_suite_command

pytest.importorskip("fsspec")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The example, installed."""
    return install_example("icechunk-fsspec-backend", tmp_path_factory.mktemp("site"))


@pytest.mark.parametrize("place", ["file://{root}", "memory:/somewhere"])
def test_it_is_for_a_single_writer(installed: dict[str, str], place: str, tmp_path: Path) -> None:
    """The suite finds nothing wrong, and gives it Single-writer: it declares no conditional writes."""
    run = run_suite_command(installed, "fsspec:" + place.format(root=tmp_path), "--json")
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr
    report = json.loads(run.stdout)
    assert (report["level"], report["capabilities"]["update"]) == ("Single-writer", False)


def test_a_repository_for_one_writer(installed: dict[str, str], tmp_path: Path) -> None:
    """A repository is refused unless the user says that there is one writer; then it works, and any other
    program opens the files."""
    url = f"fsspec:file://{tmp_path}/repo"
    program = (
        "import icechunk_core, zarr\n"
        f"try:\n    icechunk_core.Repository.create({url!r})\n"
        "except icechunk_core.InvalidInputError as error:\n    print('refused')\n"
        f"repo = icechunk_core.Repository.create({url!r}, require_commit_safety=False)\n"
        "with repo.transaction('main', message='begin') as store:\n"
        "    zarr.create_array(store, name='a', shape=(100,), chunks=(10,), dtype='i4')[:] = 7\n"
        f"other = icechunk_core.Repository.open({str(tmp_path / 'repo')!r}).readonly_session('main')\n"
        "print(zarr.open_array(other.store, path='a', mode='r')[:].sum())\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], env=installed, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.split() == ["refused", "700"]
