"""Icechunk as the oracle: the same program on both, and both on one directory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import zarr
from attrs import frozen

from tests.interop.implementations import OURS, create, load_peer, open_repo
from tests.repository.programs import commit_array, commit_group, families

ROOT = "1CECHNKREP0F1RSTCMT0"
NOWHERE = "VY76P925PRY57WFEK410"

Call = Callable[[Any, Any], Any]


@pytest.fixture
def peer() -> Any:
    """Icechunk."""
    return load_peer()


@frozen
class Failure:
    """An error: what it can be caught as, and its kind."""

    families: set[str]
    kind: str | None


def outcome(ic: Any, repo: Any, call: Call) -> Any:
    """What a call gives, or how it fails."""
    try:
        return call(ic, repo)
    except Exception as error:
        return Failure(families(ic, error), getattr(error, "kind", None))


def check(ours: Any, theirs: Any, name: str) -> None:
    """The same result; or an error that handlers of the peer's catch, of the same kind if that has one."""
    if not isinstance(theirs, Failure):
        assert ours == theirs, name
        return
    assert isinstance(ours, Failure), f"{name}: {ours}, but {theirs}"
    assert ours.families >= theirs.families, name
    if theirs.kind is not None:
        assert ours.kind == theirs.kind, name


# --- results and errors of the same calls

_CALLS: dict[str, Call] = {
    "branch": lambda ic, repo: repo.create_branch("new", ROOT),
    "branch that exists": lambda ic, repo: repo.create_branch("dev", ROOT),
    "branch at no id": lambda ic, repo: repo.create_branch("new", "bad"),
    "branch nowhere": lambda ic, repo: repo.create_branch("new", NOWHERE),
    "branch with a slash": lambda ic, repo: repo.create_branch("a/b", ROOT),
    "reset": lambda ic, repo: repo.reset_branch("dev", repo.lookup_branch("main")),
    "reset from elsewhere": lambda ic, repo: repo.reset_branch("dev", ROOT, from_snapshot_id=ROOT),
    "reset of no branch": lambda ic, repo: repo.reset_branch("nope", ROOT),
    "reset to nowhere": lambda ic, repo: repo.reset_branch("dev", NOWHERE),
    "delete branch": lambda ic, repo: repo.delete_branch("dev"),
    "delete no branch": lambda ic, repo: repo.delete_branch("nope"),
    "delete main": lambda ic, repo: repo.delete_branch("main"),
    "lookup no branch": lambda ic, repo: repo.lookup_branch("nope"),
    "tag": lambda ic, repo: repo.create_tag("new", ROOT),
    "tag that exists": lambda ic, repo: repo.create_tag("v1", ROOT),
    "tag that was deleted": lambda ic, repo: repo.create_tag("gone", ROOT),
    "tag nowhere": lambda ic, repo: repo.create_tag("new", NOWHERE),
    "delete no tag": lambda ic, repo: repo.delete_tag("nope"),
    "delete tag twice": lambda ic, repo: repo.delete_tag("gone"),
    "lookup no tag": lambda ic, repo: repo.lookup_tag("nope"),
    "lookup deleted tag": lambda ic, repo: repo.lookup_tag("gone"),
    "lookup no id": lambda ic, repo: repo.lookup_snapshot("bad"),
    "lookup nowhere": lambda ic, repo: repo.lookup_snapshot(NOWHERE),
    "ancestry of nothing": lambda ic, repo: repo.ancestry(),
    "ancestry of two": lambda ic, repo: repo.ancestry(branch="main", tag="v1"),
    "ancestry of no branch": lambda ic, repo: repo.ancestry(branch="nope"),
    "ancestry of no tag": lambda ic, repo: repo.ancestry(tag="nope"),
    "ancestry of nowhere": lambda ic, repo: repo.ancestry(snapshot_id=NOWHERE),
    "graph of no branch": lambda ic, repo: repo.ancestry_graph(branch="nope"),
    "graph of two": lambda ic, repo: repo.ancestry_graph(branch="main", tag="v1"),
    "manifests of no id": lambda ic, repo: repo.list_manifest_files("bad"),
    "manifests of nowhere": lambda ic, repo: repo.list_manifest_files(NOWHERE),
    "manifests of the start": lambda ic, repo: repo.list_manifest_files(ROOT),
    "snapshot of nowhere": lambda ic, repo: repo.inspect_snapshot(NOWHERE),
    "manifest of nowhere": lambda ic, repo: repo.inspect_manifest(NOWHERE),
    "log of nowhere": lambda ic, repo: repo.inspect_transaction_log(NOWHERE),
    "session on nothing": lambda ic, repo: repo.readonly_session(),
    "session on two": lambda ic, repo: repo.readonly_session("main", tag="v1"),
    "session on no branch": lambda ic, repo: repo.readonly_session("nope"),
    "session before the start": lambda ic, repo: repo.readonly_session(
        "main", as_of=datetime(2000, 1, 1, tzinfo=UTC)
    ),
    "session on a tag at a time": lambda ic, repo: repo.readonly_session(
        tag="v1", as_of=datetime(2000, 1, 1, tzinfo=UTC)
    ),
    "writing on no branch": lambda ic, repo: repo.writable_session("nope"),
    "diff backwards": lambda ic, repo: repo.diff(from_branch="main", to_snapshot_id=ROOT),
    "diff of one": lambda ic, repo: repo.diff(from_branch="main", to_branch="main"),
    "diff from nothing": lambda ic, repo: repo.diff(to_branch="main"),
    "metadata": lambda ic, repo: repo.get_metadata(),
    "set metadata": lambda ic, repo: repo.set_metadata({"a": (1, 2.5), "n": float("nan")}) or repo.metadata,
    "set no metadata": lambda ic, repo: repo.set_metadata(None),
    "set metadata of objects": lambda ic, repo: repo.set_metadata({"a": object()}),
    "update metadata": lambda ic, repo: repo.update_metadata({"a": {"b": None}}),
    "default metadata of objects": lambda ic, repo: repo.set_default_commit_metadata({"a": object()}),
    "status": lambda ic, repo: repo.status.availability == 0,
    "flag": lambda ic, repo: repo.set_feature_flag("create_tag", True),
    "flag that is none": lambda ic, repo: repo.set_feature_flag("fly", True),
    "tag when tags are off": lambda ic, repo: (
        repo.set_feature_flag("create_tag", False) or repo.create_tag("new", ROOT)
    ),
    "repo info": lambda ic, repo: sorted(repo.inspect_repo_info()),
    "ops log": lambda ic, repo: len(list(repo.ops_log())) > 0,
    "create again": lambda ic, repo: type(repo).create(repo.storage),
    "spec that is none": lambda ic, repo: type(repo).create(ic.in_memory_storage(), spec_version=7),
    "open nothing": lambda ic, repo: type(repo).open(ic.in_memory_storage()),
    "configuration of nothing": lambda ic, repo: type(repo).fetch_config(ic.in_memory_storage()),
    "spec version of nothing": lambda ic, repo: type(repo).fetch_spec_version(ic.in_memory_storage()),
    "status without zone": lambda ic, repo: ic.RepoStatus(ic.RepoAvailability.online, datetime(2020, 1, 1)),
    "status of a number": lambda ic, repo: ic.RepoStatus(0),
}


def prepared(ic: Any, spec_version: int) -> Any:
    version = getattr(ic.SpecVersion, f"v{spec_version}")
    repo = ic.Repository.create(ic.in_memory_storage(), spec_version=version)
    first = commit_group(repo, "a")
    repo.create_branch("dev", first)
    repo.create_tag("v1", first)
    repo.create_tag("gone", first)
    repo.delete_tag("gone")
    commit_group(repo, "b")
    return repo


@pytest.mark.parametrize("spec_version", [2, 1], ids=["spec2", "spec1"])
def test_calls_give_what_the_peer_gives(peer: Any, spec_version: int) -> None:
    """Each call has the same result, or an error of the same kind that the same handlers catch."""
    for name, call in _CALLS.items():
        ours, theirs = (outcome(ic, prepared(ic, spec_version), call) for ic in (OURS, peer))
        check(ours, theirs, name)


@pytest.mark.parametrize("spec_version", [2, 1], ids=["spec2", "spec1"])
def test_read_only_repositories_refuse_the_same(peer: Any, spec_version: int) -> None:
    """Whatever the peer refuses while the repository is read-only, so do we, and nothing else."""
    sessions: dict[Any, Any] = {}
    changes: dict[str, Call] = {
        "read-only": lambda ic, repo: repo.set_status(
            ic.RepoStatus(ic.RepoAvailability.read_only, None, "why")
        ),
        "session": lambda ic, repo: bool(repo.writable_session("main")),
        "commit": lambda ic, repo: bool(sessions[ic].commit("x", allow_empty=True)),
        "branch": lambda ic, repo: repo.create_branch("b", ROOT),
        "tag": lambda ic, repo: repo.create_tag("t", ROOT),
        "metadata": lambda ic, repo: repo.set_metadata({}),
        "flag": lambda ic, repo: repo.set_feature_flag("move_node", None),
        "save": lambda ic, repo: repo.save_config(),
        "read": lambda ic, repo: bool(repo.readonly_session("main")),
        "online": lambda ic, repo: repo.set_status(ic.RepoStatus(ic.RepoAvailability.online)),
        "branch again": lambda ic, repo: repo.create_branch("b", ROOT) if spec_version == 2 else None,
    }
    found = []
    for ic in (OURS, peer):
        repo = prepared(ic, spec_version)
        sessions[ic] = repo.writable_session("main")
        found.append({name: outcome(ic, repo, change) for name, change in changes.items()})
    ours, theirs = found
    for name in changes:
        check(ours[name], theirs[name], name)


# --- one directory, read by both


@pytest.fixture(params=["ours first", "peer first"])
def pair(request: pytest.FixtureRequest, peer: Any) -> tuple[Any, Any]:
    """Who writes, who reads."""
    return (OURS, peer) if request.param == "ours first" else (peer, OURS)


def fields(value: Any) -> Any:
    """A value of either implementation as plain data."""
    names = (
        "availability", "set_at", "limited_availability_reason", "id", "name", "default_enabled", "setting",
        "enabled", "size_bytes", "num_chunk_refs", "branch", "previous_snap_id", "new_snap_id", "new_value",
        "from_version", "to_version", "updated_at", "backup_path", "kind", "status",
    )  # fmt: skip
    plain = {}
    for name in names:
        if not hasattr(value, name):
            continue
        item = getattr(value, name)
        if name == "availability":
            item = int(item)
        elif name in {"kind", "status"}:
            item = type(item).__name__, fields(item)
        plain[name] = item
    return plain


def everything(ic: Any, root: Path, spec_version: int) -> Iterator[tuple[str, Any]]:
    """All that a repository says about itself, as plain data."""
    repo = open_repo(ic, root)
    snapshots = [info.id for info in repo.ancestry(branch="main")]
    for snapshot_id in snapshots:
        files = repo.list_manifest_files(snapshot_id)
        yield f"files {snapshot_id}", sorted((fields(file) for file in files), key=lambda file: file["id"])
        found = repo.inspect_snapshot(snapshot_id)
        found["manifests"].sort(key=lambda item: item["id"])
        yield f"snapshot {snapshot_id}", found
        if spec_version == 2 or snapshot_id != ROOT:
            log = repo.inspect_transaction_log(snapshot_id)
            log.get("synthetic_composite", {}).pop("note", None)
            yield f"log {snapshot_id}", log
        for file in files:
            yield f"manifest {file.id}", repo.inspect_manifest(file.id)
    if spec_version == 2:
        yield "repo info", repo.inspect_repo_info()
        yield "ops log", [fields(update) for update in repo.ops_log()]
        yield "status", fields(repo.status)
        yield "metadata", repo.metadata
        flags = sorted((fields(flag) for flag in repo.feature_flags()), key=lambda flag: flag["id"])
        yield "flags", flags
        yield "on", {flag.name for flag in repo.enabled_feature_flags()}
        yield "off", {flag.name for flag in repo.disabled_feature_flags()}


def same_writer(value: Any) -> Any:
    """Without the two header fields that split the writer's name, which Icechunk does at the first dash."""
    header = value.get("header") if isinstance(value, dict) else None
    if header is None:
        return value
    return {**value, "header": {**header, "app_name": None, "app_version": None}}


@pytest.mark.parametrize("spec_version", [2, 1], ids=["spec2", "spec1"])
def test_both_say_the_same_about_a_repository(
    tmp_path: Path, pair: tuple[Any, Any], spec_version: int
) -> None:
    """Whoever wrote it: files, nodes, logs, status, metadata, flags and operations agree."""
    writer, _ = pair
    config = writer.RepositoryConfig(num_updates_per_repo_info_file=4)
    repo = create(writer, tmp_path / "repo", spec_version=spec_version, config=config)
    commit_array(repo, "a")
    commit_array(repo, "group/large", size=3000, chunk=1000, dtype="f8")
    session = repo.writable_session("main")
    array = zarr.open_array(session.store, path="a")
    array[:5] = 7
    array.attrs["x"] = 1
    zarr.create_array(session.store, name="scalar", shape=(), dtype="i4", dimension_names=())[...] = 1
    tip = session.commit("three", {"who": "me", "nested": {"a": [1, None]}})
    repo.create_branch("dev", ROOT)
    repo.reset_branch("dev", tip)
    repo.create_tag("v1", tip)
    repo.create_tag("v2", tip)
    repo.delete_tag("v2")
    repo.delete_branch("dev")
    if spec_version == 2:
        repo.set_metadata({"a": [1, {"b": None}]})
        repo.update_metadata({"c": 2.5})
        repo.set_feature_flag("move_node", False)
        repo.set_feature_flag("delete_tag", True)
        at = datetime(2024, 2, 29, 12, tzinfo=UTC)
        repo.set_status(writer.RepoStatus(writer.RepoAvailability.online, at, "checked"))
    found, expected = (
        {k: same_writer(v) for k, v in everything(ic, tmp_path / "repo", spec_version)}
        for ic in (OURS, load_peer())
    )
    assert list(found) == list(expected)
    for name, value in expected.items():
        assert found[name] == value, name


def test_logs_of_expired_snapshots_are_merged(tmp_path: Path, pair: tuple[Any, Any]) -> None:
    """What expiration removed is part of the log of the snapshot that is left; a lost log is named."""
    writer, _ = pair
    repo = create(writer, tmp_path / "repo")
    ids = [commit_array(repo, "a"), commit_group(repo, "b"), commit_group(repo, "c")]
    repo.expire_snapshots(repo.lookup_snapshot(ids[-1]).written_at)
    for lost in ([], [ids[0]]):
        for snapshot_id in lost:
            (tmp_path / "repo" / "transactions" / snapshot_id).unlink()
        found, expected = (
            same_writer(open_repo(ic, tmp_path / "repo").inspect_transaction_log(ids[-1]))
            for ic in (OURS, load_peer())
        )
        composite = expected["synthetic_composite"]
        assert composite["missing_tx_logs"] == lost
        assert composite["merged_pruned_ancestor_tx_logs"] == ids[len(lost) : 2]
        composite["note"] = found["synthetic_composite"]["note"]
        assert found == expected


def test_what_one_sets_the_other_sees(tmp_path: Path, pair: tuple[Any, Any]) -> None:
    """Status, flags and metadata set by one bind the other."""
    first, second = pair
    ours = create(first, tmp_path / "repo")
    theirs = open_repo(second, tmp_path / "repo")
    ours.set_metadata({"a": 1})
    assert theirs.update_metadata({"b": 2}) == {"a": 1, "b": 2} == ours.metadata
    ours.set_feature_flag("create_tag", False)
    with pytest.raises(second.SessionStateError):
        theirs.create_tag("v1", ROOT)
    theirs.set_feature_flag("create_tag", None)
    ours.create_tag("v1", ROOT)
    ours.set_status(first.RepoStatus(first.RepoAvailability.read_only))
    with pytest.raises(second.ReadOnlyError):
        theirs.create_branch("b", ROOT)
    theirs.set_status(second.RepoStatus(second.RepoAvailability.online))
    ours.create_branch("b", ROOT)
    assert [fields(update) for update in ours.ops_log()] == [fields(update) for update in theirs.ops_log()]
