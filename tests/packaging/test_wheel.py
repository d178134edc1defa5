"""The wheel holds what it should and works without the sources."""

from __future__ import annotations

import subprocess
import sys
import venv
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SMOKE = Path(__file__).with_name("smoke.py")
BACKENDS = ("memory", "filesystem", "s3", "gcs", "azure", "http")
PACKAGES = {"icechunk_core", "icechunk_conformance", *(f"icechunk_{name}" for name in BACKENDS)}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("build")
    target = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--outdir", str(target), str(ROOT)],
        check=True,
        capture_output=True,
        text=True,
    )
    (built,) = target.glob("*.whl")
    return built


@pytest.mark.slow
def test_the_wheel_is_pure_and_complete(wheel: Path) -> None:
    """One wheel for every platform, with all import packages, typed, and with nothing else."""
    assert wheel.name.endswith("-py3-none-any.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == PACKAGES
    for package in PACKAGES:
        assert f"{package}/py.typed" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    others = {name for name in names if not name.endswith((".py", "py.typed")) and ".dist-info/" not in name}
    templates = (ROOT / "icechunk_core" / "cli" / "plugin_template").rglob("*.template")
    stubs = {"icechunk_core/__init__.pyi"}
    assert others == stubs | {path.relative_to(ROOT).as_posix() for path in templates}


@pytest.mark.slow
def test_the_metadata_names_extras_and_entry_points(wheel: Path) -> None:
    """All extras exist, and the first-party backends are announced like anybody's."""
    with zipfile.ZipFile(wheel) as archive:
        files = {
            name.split("/")[-1]: archive.read(name).decode()
            for name in archive.namelist()
            if ".dist-info/" in name
        }
    metadata = Parser().parsestr(files["METADATA"])
    extras = set(metadata.get_all("Provides-Extra") or [])
    assert {"s3", "gcs", "azure", "http", "xarray", "dask", "cli", "conformance", "dev", "all"} <= extras
    assert metadata["Requires-Python"] == ">=3.11"
    assert "[icechunk_core.backends]" in files["entry_points.txt"]
    unconditional = [value for value in metadata.get_all("Requires-Dist") or [] if "extra ==" not in value]
    assert not [value for value in unconditional if value.startswith(("icechunk", "xarray", "dask", "aio"))]


@pytest.mark.slow
def test_the_wheel_works_in_an_empty_environment(wheel: Path, tmp_path: Path) -> None:
    """Create, write, commit and reopen with nothing but the wheel and its dependencies."""
    environment = tmp_path / "environment"
    venv.create(environment, with_pip=True, symlinks=True)
    python = environment / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    subprocess.run(
        [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", str(wheel)],
        check=True,
        cwd=tmp_path,
    )
    program = tmp_path / "smoke.py"
    program.write_text(SMOKE.read_text())
    result = subprocess.run(
        [python, "-I", "-W", "error", str(program), str(ROOT), str(tmp_path / "repository")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "smoke test passed" in result.stdout


def test_an_editable_installation_leaves_the_path_clean(tmp_path: Path) -> None:
    """`pip install -e .` makes the packages importable, not the repository's other directories."""
    program = (
        "import importlib.util, sys, icechunk_core, icechunk_memory, icechunk_conformance\n"
        "for name in ('tests', 'docs', 'backends', 'conformance'):\n"
        "    found = importlib.util.find_spec(name)\n"
        "    locations = list(found.submodule_search_locations or []) if found else []\n"
        "    assert not any(path.startswith(sys.argv[1]) for path in locations), (name, locations)\n"
        "assert sys.argv[1] not in sys.path, sys.path\n"
    )
    result = subprocess.run(
        [sys.executable, "-I", "-c", program, str(ROOT)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
