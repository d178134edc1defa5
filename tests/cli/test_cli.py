"""The command line does what it says, prints what scripts can read, and ends with telling codes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

import icechunk_core as ic
from icechunk_core.cli.app import app
from icechunk_core.cli.exit_codes import ExitCode

Command = Callable[..., str]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A repository with two commits, a branch and a tag."""
    root = tmp_path / "repo"
    repo = ic.Repository.create(root)
    with repo.transaction("main", message="Begin") as store:
        group = zarr.create_group(store, attributes={"title": "test"})
        group.create_array("temp", shape=(40, 60), chunks=(10, 20), dtype="f4", compressors=None)[:20] = 1.5
    repo.create_branch("dev", repo.lookup_branch("main"))
    repo.create_tag("v1", repo.lookup_branch("main"))
    with repo.transaction("main", message="Fill") as store:
        zarr.open_array(store, path="temp")[:] = np.arange(2400.0).reshape(40, 60)
    return root


def test_create_and_info(command: Command, tmp_path: Path) -> None:
    """A created repository is there, of the version asked for; creating it twice is a conflict of words."""
    command("create", tmp_path / "new", "--spec-version", 1)
    assert json.loads(command("info", tmp_path / "new", "--json"))["spec_version"] == 1
    assert "already" in command("create", tmp_path / "new", code=ExitCode.USAGE)


def test_info(command: Command, root: Path) -> None:
    """Branches, tags, status and the latest commit are told."""
    facts = json.loads(command("info", root, "--json"))
    assert set(facts["branches"]) == {"main", "dev"}
    assert set(facts["tags"]) == {"v1"}
    assert facts["status"] == "online"
    assert "Fill" in command("info", root)


def test_log(command: Command, root: Path) -> None:
    """The log shows the graph of all branches, or one line of descent, shortened if asked."""
    assert "(main) Fill" in command("log", root, "--plain")
    assert "Fill" not in command("log", root, "--ref", "dev", "--plain")
    entries = json.loads(command("log", root, "--json"))
    assert [entry["message"] for entry in entries] == ["Fill", "Begin", "Repository initialized"]
    assert len(command("log", root, "--ref", "main", "-n", 1).splitlines()) == 1


def test_nodes(command: Command, root: Path) -> None:
    """tree, ls and show tell what is in a version; of an array also where its chunks are."""
    assert "temp (40, 60) float32" in command("tree", root)
    assert json.loads(command("ls", root, "--json"))[0]["shape"] == [40, 60]
    shown = json.loads(command("show", root, "temp", "--ref", "v1", "--json"))
    assert (shown["chunks"]["total"], shown["chunks"]["missing"]) == (12, 6)
    assert "40 × 60" in command("show", root, "/temp")
    assert json.loads(command("show", root, "/"))["attributes"] == {"title": "test"}


def test_diff(command: Command, root: Path) -> None:
    """diff tells what changed between two versions, named by branch, tag, the beginning of an id, or how far
    they are before one of these."""
    short = ic.Repository.open(root).lookup_tag("v1")[:8]
    for old in ("v1", "dev", short, "main~", "main~1"):
        found = json.loads(command("diff", root, old, "main", "--json"))
        assert len(found["updated_chunks"]["/temp"]) == 12
    assert "nothing changed" in command("diff", root, "v1", "dev")
    assert "fewer than 3" in command("diff", root, "main~3", code=ExitCode.NOT_FOUND)


def test_ops_and_inspect(command: Command, root: Path) -> None:
    """The operations log and the decoded objects come as JSON."""
    operations = [each["operation"] for each in json.loads(command("ops", root, "--json"))]
    assert operations == ["NewCommit", "TagCreated", "BranchCreated", "NewCommit", "RepoInitialized"]
    snapshot = json.loads(command("inspect", root, "snapshot", "main"))
    manifest = snapshot["manifests"][0]["id"]
    assert json.loads(command("inspect", root, "manifest", manifest))["id"] == manifest
    assert json.loads(command("inspect", root))["branches"]
    assert json.loads(command("inspect", root, "transaction-log", "main"))
    command("inspect", root, "everything", code=ExitCode.USAGE)


def test_stats_and_verify(command: Command, root: Path) -> None:
    """stats counts bytes; verify ends with 0 on a sound repository and with 1 on a damaged one."""
    assert json.loads(command("stats", root, "--json"))["native_bytes"] > 0
    assert json.loads(command("verify", root, "--data", "--json"))["ok"] is True
    for path in (root / "chunks").iterdir():
        path.unlink()
    assert "missing: chunks/" in command("verify", root, code=ExitCode.FOUND_PROBLEMS)


def test_branches_and_tags(command: Command, root: Path) -> None:
    """Refs are listed, created, moved and deleted; what is destructive asks for --yes."""
    command("branch", "create", root, "more", "v1")
    assert set(json.loads(command("branch", "list", root, "--json"))) == {"main", "dev", "more"}
    command("branch", "reset", root, "more", "main", code=ExitCode.USAGE)
    command("branch", "reset", root, "more", "main", "--yes")
    refs = json.loads(command("branch", "list", root, "--json"))
    assert refs["more"] == refs["main"]
    command("branch", "delete", root, "more", "-y")
    command("tag", "create", root, "v2")
    command("tag", "create", root, "v2", code=ExitCode.CONFLICT)
    assert "v2" in command("tag", "list", root)
    command("tag", "delete", root, "v2", "--yes")
    assert set(json.loads(command("tag", "list", root, "--json"))) == {"v1"}


def test_expire_and_gc(command: Command, root: Path) -> None:
    """Dry runs change nothing; without --yes and without a terminal nothing happens; with it, it does."""
    command("branch", "delete", root, "dev", "-y")
    command("tag", "delete", root, "v1", "-y")
    later = "2999-01-01"
    planned = json.loads(command("expire", root, "--older-than", later, "--dry-run", "--json"))
    assert len(planned["expired"]) == 1
    command("expire", root, "--older-than", later, code=ExitCode.USAGE)
    assert len(json.loads(command("log", root, "--json"))) == 3
    done = json.loads(command("expire", root, "--older-than", later, "--yes", "--json"))
    assert done["expired"] == planned["expired"]
    would = json.loads(command("gc", root, "--older-than", later, "--dry-run", "--json"))
    did = json.loads(command("gc", root, "--older-than", later, "--yes", "--json"))
    assert would["snapshots_deleted"] == did["snapshots_deleted"] == 1
    assert "nothing is wrong" in command("verify", root)


@pytest.mark.parametrize("age", ["30", "yesterday", "5y"])
def test_wrong_times(command: Command, root: Path, age: str) -> None:
    """A time that is none is wrong usage, and the help is in the message."""
    assert "30d" in command("gc", root, "--older-than", age, "--yes", code=ExitCode.USAGE)


def test_repack_and_rewrite(command: Command, root: Path) -> None:
    """Repacking and rewriting commit without changing data."""
    before = zarr.open_array(ic.Repository.open(root).readonly_session("main").store, path="temp")[:]
    assert "chunks" in command("repack", root, "--live-below", "1", "--dry-run")
    command("repack", root, "--live-below", "1")
    command("rewrite-manifests", root, "-m", "Again")
    after = zarr.open_array(ic.Repository.open(root).readonly_session("main").store, path="temp")[:]
    np.testing.assert_array_equal(before, after)


def test_copy(command: Command, root: Path, tmp_path: Path) -> None:
    """A copy is made, verified, and brought up to date; a target with its own commits is a conflict."""
    target = tmp_path / "copy"
    assert json.loads(command("copy", root, target, "--verify", "--json"))["verified"] is True
    assert json.loads(command("copy", root, target, "--json"))["objects_copied"] == 0
    command("copy", root, tmp_path / "part", "--tag", "v1")
    assert set(json.loads(command("tag", "list", tmp_path / "part", "--json"))) == {"v1"}
    with ic.Repository.open(target).transaction("main", message="Mine") as store:
        zarr.create_array(store, name="mine", shape=(1,), dtype="i1")
    assert "overwrite" in command("copy", root, target, code=ExitCode.CONFLICT)


def test_workers(command: Command, root: Path, tmp_path: Path) -> None:
    """``--workers`` gives the same answers; two kinds of workers, or fewer than none, are wrong usage."""
    assert command("verify", root, "--workers", "1", "--json") == command("verify", root, "--json")
    assert "not both" in command(
        "gc", root, "--older-than", "9d", "-y", "--workers", "1", "--dask", "tcp://x:1", code=ExitCode.USAGE
    )
    assert "--workers" in command("copy", root, tmp_path / "copy", "--workers", "-1", code=ExitCode.USAGE)
    assert not (tmp_path / "copy").exists()


def test_configuration(command: Command, root: Path) -> None:
    """A setting is stored for everybody; one that does not exist is wrong usage."""
    assert json.loads(command("config", "show", root)) is None
    command("config", "set", root, "inline_chunk_threshold_bytes", "77")
    assert json.loads(command("config", "show", root))["inline_chunk_threshold_bytes"] == 77
    assert ic.Repository.open(root).config.inline_chunk_threshold_bytes == 77
    assert "inline_chunk_threshold_bytes" in command("config", "set", root, "nope", "1", code=ExitCode.USAGE)
    command("config", "set", root, "caching.num_chunk_refs", "1000")
    caching = ic.Repository.open(root).config.caching
    assert caching is not None
    assert caching.num_chunk_refs == 1000


def test_migrate(command: Command, tmp_path: Path) -> None:
    """A repository of spec 1 becomes one of spec 2, after a dry run that changes nothing."""
    command("create", tmp_path / "old", "--spec-version", 1)
    command("migrate", tmp_path / "old", "--dry-run")
    assert json.loads(command("info", tmp_path / "old", "--json"))["spec_version"] == 1
    command("migrate", tmp_path / "old", "--yes")
    assert json.loads(command("info", tmp_path / "old", "--json"))["spec_version"] == 2


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_import_zarr(command: Command, tmp_path: Path, zarr_format: Any) -> None:
    """A Zarr hierarchy of either format is copied with its values, attributes, chunks and dimensions."""
    source = zarr.open_group(tmp_path / "source.zarr", mode="w", zarr_format=zarr_format)
    source.attrs["title"] = "old"
    inner = source.create_group("inner")
    names = {"dimension_names": ["y", "x"]} if zarr_format == 3 else {}
    array = inner.create_array("a", shape=(30, 20), chunks=(10, 10), dtype="i4", **names)
    array[:] = np.arange(600).reshape(30, 20)
    array.attrs["units"] = "m"
    if zarr_format == 2:
        array.attrs["_ARRAY_DIMENSIONS"] = ["y", "x"]
    command("import-zarr", tmp_path / "source.zarr", tmp_path / "repo", "--group", "/imported")
    store = ic.Repository.open(tmp_path / "repo").readonly_session("main").store
    copy = zarr.open_array(store, path="imported/inner/a")
    np.testing.assert_array_equal(copy[:], array[:])
    assert (copy.chunks, dict(copy.attrs)) == ((10, 10), {"units": "m"})
    assert copy.metadata.dimension_names == ("y", "x")  # type: ignore[union-attr]
    assert zarr.open_group(store, path="imported", mode="r").attrs["title"] == "old"
    command("import-zarr", tmp_path / "nothing", tmp_path / "repo", code=ExitCode.NOT_FOUND)


def test_import_netcdf(command: Command, tmp_path: Path) -> None:
    """NetCDF files are put together along a dimension in one commit, and read back equal."""
    xr = pytest.importorskip("xarray")
    pytest.importorskip("h5netcdf")
    files = []
    for number in range(3):
        data = xr.Dataset(
            {"t": (("time", "x"), np.full((2, 4), float(number)), {"units": "K"})},
            coords={"time": [2 * number, 2 * number + 1], "x": [1.0, 2.0, 3.0, 4.0]},
        )
        files.append(tmp_path / f"{number}.nc")
        data.to_netcdf(files[-1], engine="h5netcdf")
    repo = tmp_path / "repo"
    command("import-netcdf", *files, repo, code=ExitCode.USAGE)
    command("import-netcdf", *files, repo, "--append-dim", "time")
    store = ic.Repository.open(repo).readonly_session("main").store
    with xr.open_zarr(store, consolidated=False) as found:
        assert found["t"].values[:, 0].tolist() == [0, 0, 1, 1, 2, 2]
        assert found["time"].values.tolist() == list(range(6))
    assert len(json.loads(command("log", repo, "--json"))) == 2


def test_what_cannot_be_imported_leaves_no_repository(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that xarray cannot read, or for which a package is missing, is an error that says what to
    install, before anything is made."""
    xr = pytest.importorskip("xarray")
    (tmp_path / "text.nc").write_text("no data")
    command("import-netcdf", tmp_path / "text.nc", tmp_path / "repo", code=ExitCode.FAILED)

    def without_reader(*_: Any, **__: Any) -> None:
        raise ImportError("No module named 'h5py'")

    monkeypatch.setattr(xr, "open_dataset", without_reader)
    command("import-netcdf", tmp_path / "text.nc", tmp_path / "repo", code=ExitCode.FAILED)
    assert not (tmp_path / "repo").exists()


def test_plugins(command: Command) -> None:
    """The plugins are listed with their states."""
    records = {each["name"]: each for each in json.loads(command("plugins", "--json"))}
    assert records["memory"]["state"] == "loaded"
    assert "icechunk_filesystem.plugin" in command("plugins")


def test_storage_verify(command: Command, tmp_path: Path) -> None:
    """The conformance suite runs on a storage, with its own arguments and exit codes."""
    report = json.loads(command("storage", "verify", f"file://{tmp_path}", "--only", "A01", "--json"))
    assert report["passed"] is True
    command("storage", "verify", "nonsense://x", code=ExitCode.USAGE)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["info", "nowhere"], ExitCode.NOT_FOUND),
        (["tree", "{root}", "/nothing"], ExitCode.NOT_FOUND),
        (["show", "{root}", "/nothing"], ExitCode.NOT_FOUND),
        (["diff", "{root}", "nothing", "main"], ExitCode.NOT_FOUND),
        (["branch", "create", "{root}", "main"], ExitCode.CONFLICT),
        (["info", "nonsense://there"], ExitCode.USAGE),
        (["info", "{root}", "-o", "nonsense=1"], ExitCode.USAGE),
        (["info", "{root}", "-o", "nonsense"], ExitCode.USAGE),
        (["nonsense"], ExitCode.USAGE),
        (["info"], ExitCode.USAGE),
    ],
)
def test_errors_have_codes(command: Command, root: Path, arguments: list[str], code: ExitCode) -> None:
    """What goes wrong ends with the code of its kind, and a message instead of a traceback."""
    printed = command(*(each.format(root=root) for each in arguments), code=code)
    assert printed.strip()
    assert "Traceback" not in printed


def test_traceback_is_there_for_who_asks(command: Command, root: Path) -> None:
    """``--traceback`` shows where an error comes from."""
    assert "Traceback" in command("--traceback", "show", root, "/nothing", code=ExitCode.NOT_FOUND)


def test_every_command_has_help() -> None:
    """Each command and subcommand says what it does."""
    from typer.main import get_command

    waiting: list[Any] = [get_command(app)]
    count = 0
    while waiting:
        found = waiting.pop()
        assert found.help, found.name
        count += 1
        waiting += getattr(found, "commands", {}).values()
    assert count > 30


def test_as_a_process(tmp_path: Path) -> None:
    """The module runs as a program; its exit code is the process's."""
    program = [sys.executable, "-m", "icechunk_core.cli"]
    done = subprocess.run([*program, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("icechunk-core ")
    missing = subprocess.run([*program, "info", str(tmp_path)], capture_output=True, text=True, check=False)
    assert missing.returncode == ExitCode.NOT_FOUND


def test_without_its_dependencies() -> None:
    """Where typer is not installed, the command says what to install."""
    code = "import sys; sys.modules['typer'] = None; from icechunk_core.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == ExitCode.USAGE
    assert "pip install 'icechunk-core[cli]'" in done.stderr
