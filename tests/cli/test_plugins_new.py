"""``plugins new``: what it makes works as it is, and is refused where it could do harm."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("typer")

from icechunk_core.cli.app import run
from icechunk_core.cli.exit_codes import ExitCode
from icechunk_core.cli.plugin_new import files_of_plugin
from tests.conformance.examples_support import install_example, run_suite_command

ROOT = Path(__file__).parents[2]
WRAPPERS = sorted((ROOT / "docs" / "examples").glob("icechunk-*-wrapper"))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A new backend and a new wrapper."""
    folder = tmp_path_factory.mktemp("made")
    backend, wrapper = folder / "backend", folder / "wrapper"
    assert run(["plugins", "new", "icechunk-acme-backend", "--directory", str(backend)]) == 0
    assert run(["plugins", "new", "slow-calls", "--wrapper", "--directory", str(wrapper)]) == 0
    return {"backend": backend, "wrapper": wrapper}


@pytest.fixture(scope="module")
def installed(made: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Both, built as wheels and installed into a directory; an environment in which Python finds them."""
    site = tmp_path_factory.mktemp("site")
    install_example(str(made["backend"]), site)
    return install_example(str(made["wrapper"]), site)


def pytest_in(folder: Path, environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a distribution's own tests, as its maker would."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_a_new_backend_is_commit_safe(
    made: dict[str, Path], installed: dict[str, str], tmp_path: Path
) -> None:
    """Its own tests pass, and the suite finds nothing wrong up to races of processes and lost answers."""
    own = pytest_in(made["backend"], installed, "-k", "A0 or E0 or repository")
    assert own.returncode == 0, own.stdout[-3000:] + own.stderr
    run = run_suite_command(
        installed, f"acme://{tmp_path}", "--json", "--only", "A,B,C,D01,D02,D03,D04,E,F05,F11,G,J01,J02"
    )
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr
    capabilities = json.loads(run.stdout)["capabilities"]
    assert (capabilities["create"], capabilities["update"]) == (True, True)
    assert capabilities["atomicity"] == "process"


@pytest.mark.slow
def test_a_new_wrapper_keeps_what_the_storage_promises(
    made: dict[str, Path], installed: dict[str, str]
) -> None:
    """Its own tests, the suite among them, pass."""
    own = pytest_in(made["wrapper"], installed, "-k", "A0 or B0 or D0 or E0 or F0 or G0 or slow_calls_are")
    assert own.returncode == 0, own.stdout[-3000:] + own.stderr


def test_a_condition_that_is_left_out_is_noticed(
    made: dict[str, Path], installed: dict[str, str], tmp_path: Path
) -> None:
    """Without the line that compares versions, the suite names the checks that say what is wrong now."""
    module = Path("icechunk_acme_backend") / "_storage.py"
    text = (made["backend"] / module).read_text(encoding="utf-8")
    (condition,) = re.findall(
        r"^ +if isinstance\(condition, IfVersion\) and .*\n.*raise .*\n", text, re.MULTILINE
    )
    (tmp_path / module).parent.mkdir()
    for path in (made["backend"] / module.parent).iterdir():
        changed = path.read_text(encoding="utf-8").replace(condition, "")
        (tmp_path / module.parent / path.name).write_text(changed, encoding="utf-8")
    environment = {**installed, "PYTHONPATH": f"{tmp_path}:{installed['PYTHONPATH']}"}
    run = run_suite_command(environment, f"acme://{tmp_path}/objects", "--json", "--only", "E")
    assert run.returncode == 1, run.stderr
    failed = {check["id"] for check in json.loads(run.stdout)["checks"] if check["status"] == "failed"}
    assert failed == {"E04", "E05", "E06", "E07", "E08", "E09", "E10"}


def test_the_plugins_command_shows_them(installed: dict[str, str]) -> None:
    """Installed, they are found by their entry points, and load."""
    command = [sys.executable, "-m", "icechunk_core.cli", "plugins", "--json"]
    shown = subprocess.run(command, env=installed, capture_output=True, text=True, check=False)
    records = {each["name"]: each for each in json.loads(shown.stdout)}
    assert (records["acme"]["kind"], records["acme"]["state"]) == ("backend", "loaded")
    assert (records["slow-calls"]["kind"], records["slow-calls"]["state"]) == ("wrapper", "loaded")


@pytest.mark.slow
def test_types_and_style(made: dict[str, Path]) -> None:
    """What is made, and the examples of wrappers, are clean for ``mypy --strict`` and ruff."""
    pytest.importorskip("mypy")
    for folder in made.values():
        for arguments in (["check"], ["format", "--check"]):
            command = [sys.executable, "-m", "ruff", *arguments, "--no-cache", "."]
            style = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
            assert style.returncode == 0, style.stdout + style.stderr
    api = api_only(made["backend"].parent / "api")
    packages = [path for folder in [*made.values(), *WRAPPERS] for path in packages_of(folder)]
    types = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", *map(str, packages)],
        cwd=api,
        env={"MYPYPATH": ":".join([str(api), *(str(path.parent) for path in packages)]), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert types.returncode == 0, types.stdout + types.stderr


def api_only(folder: Path) -> Path:
    """Where a type checker finds icechunk-core, as if it were installed there."""
    folder.mkdir()
    for name in ("icechunk_core", "conformance/icechunk_conformance"):
        (folder / Path(name).name).symlink_to(ROOT / name)
    return folder


def packages_of(folder: Path) -> list[Path]:
    """The packages and modules that a distribution installs."""
    packages = [path.parent for path in folder.glob("*/__init__.py")]
    return packages or list(folder.glob("icechunk_*.py"))


def test_nothing_is_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder with something in it is left as it is, and the command says so; an empty one is filled."""
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine", encoding="utf-8")
    code = run(["plugins", "new", "acme", "--scheme", "acme-x", "--directory", str(tmp_path / "full")])
    assert code == ExitCode.CONFLICT
    assert "exists and is not empty; nothing was written" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["mine.txt"]
    (tmp_path / "empty").mkdir()
    assert run(["plugins", "new", "acme", "--scheme", "acme-x", "--directory", str(tmp_path / "empty")]) == 0
    assert (tmp_path / "empty" / "acme" / "_storage.py").is_file()
    assert "pip install -e '.[test]'" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["Acme"], "cannot be the name of a distribution"),
        (["acme_storage"], "cannot be the name of a distribution"),
        (["../acme"], "cannot be the name of a distribution"),
        (["acme--x"], "cannot be the name of a distribution"),
        (["json", "--scheme", "acme"], "which is taken"),
        (["class", "--scheme", "acme"], "which is taken"),
        (["icechunk-core", "--scheme", "acme"], "which is taken"),
        (["acme", "--scheme", "a+b"], "cannot begin a URL"),
        (["acme", "--scheme", "x"], "cannot begin a URL"),
        (["acme", "--scheme", "s3"], "installed already"),
        (["icechunk-memory-backend"], "installed already"),
    ],
)
def test_names_are_checked(
    arguments: list[str],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A name that pip, Python or a URL could not have, or that is taken, is refused; nothing is written."""
    monkeypatch.chdir(tmp_path)
    assert run(["plugins", "new", *arguments]) == ExitCode.USAGE
    assert words in capsys.readouterr().err.replace("\n", " ")
    assert not list(tmp_path.iterdir())


def test_the_scheme_is_taken_from_the_name() -> None:
    """Without what such packages begin and end with."""
    entry = '"{}" = "{}.plugin"'
    for name, scheme in {"icechunk-acme-backend": "acme", "acme-cloud": "acme-cloud"}.items():
        text = files_of_plugin(name, scheme)["pyproject.toml"]
        assert entry.format(scheme, name.replace("-", "_")) in text
