"""What the library logs, and that it is quiet otherwise."""

from __future__ import annotations

import logging
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
import zarr

import icechunk_core
from icechunk_core.contract import DeleteResult, Storage
from icechunk_core.errors import OutcomeUnknown, PermissionDenied, Timeout
from icechunk_core.storage import Fault, with_faults

ROOT = "icechunk_core"


@pytest.fixture
def storage() -> Storage:
    """An empty memory storage."""
    return icechunk_core.in_memory_storage()


def messages(caplog: pytest.LogCaptureFixture, name: str, level: int = logging.DEBUG) -> str:
    """What a logger and those below it said, from a level on."""
    records = [
        each for each in caplog.records if each.name.startswith(f"{ROOT}.{name}") and each.levelno >= level
    ]
    return "\n".join(each.getMessage() for each in records)


def commit(repo: icechunk_core.Repository, number: int) -> str:
    """A commit with an array of its own."""
    session = repo.writable_session("main")
    zarr.create_array(session.store, name=f"a{number}", data=np.arange(3))
    return session.commit(f"commit {number}")


def test_what_happens_seldom(storage: Storage, caplog: pytest.LogCaptureFixture) -> None:
    """Creation, commits, rebases, expiry and garbage collection are told, with snapshots and branches."""
    caplog.set_level(logging.DEBUG, ROOT)
    repo = icechunk_core.Repository.create(storage)
    commit(repo, 0)
    first, late = repo.writable_session("main"), repo.writable_session("main")
    for session, name in ((first, "x"), (late, "y")):
        zarr.create_array(session.store, name=name, data=np.arange(3))
    first.commit("first")
    snapshot = late.commit("late", rebase_with=icechunk_core.ConflictDetector())
    future = datetime.now(UTC) + timedelta(minutes=1)
    repo.expire_snapshots(future)
    repo.garbage_collect(future)
    assert "created a repository of spec 2" in messages(caplog, "repository")
    assert f"commit on branch 'main': snapshot {snapshot}" in messages(caplog, "session")
    assert "rebasing over 1 commits of branch 'main'" in messages(caplog, "session")
    assert "snapshots expired" in messages(caplog, "maintenance")
    assert "garbage collection" in messages(caplog, "maintenance")
    icechunk_core.storage_from_url("memory:logged")
    assert "opened" in messages(caplog, "plugins")


def test_lost_answers_are_warnings(storage: Storage, caplog: pytest.LogCaptureFixture) -> None:
    """A put that landed against the storage's word is a warning; an outcome that stays unknown too."""
    caplog.set_level(logging.WARNING, ROOT)
    broken, log = with_faults(storage)
    repo = icechunk_core.Repository.create(broken)
    log.add(Fault("put", Timeout("lost"), key="repo", after=True))
    commit(repo, 1)
    assert "the put of 'repo' landed" in messages(caplog, "assets")
    session = repo.writable_session("main")
    zarr.create_group(session.store, path="g")

    async def go_silent() -> None:
        log.add(Fault("*", Timeout("lost"), key="repo", times=None))

    log.add(Fault("put", Timeout("lost"), key="repo", after=True, meanwhile=go_silent))
    with pytest.raises(OutcomeUnknown):
        session.commit("unknown")
    assert "it is unknown whether the commit of snapshot" in messages(caplog, "session", logging.WARNING)


def test_what_cannot_be_deleted_is_a_warning(storage: Storage, caplog: pytest.LogCaptureFixture) -> None:
    """Garbage collection says what it had to leave."""
    caplog.set_level(logging.WARNING, ROOT)

    async def refuse(keys: list[str]) -> list[DeleteResult]:
        return [DeleteResult(key, PermissionDenied("no right to delete", key=key)) for key in keys]

    repo = icechunk_core.Repository.create(storage.with_hooks(delete=refuse))
    repo.create_branch("old", commit(repo, 1))
    repo.reset_branch("main", next(iter(repo.ancestry(branch="old"))).parent_id or "")
    repo.delete_branch("old")
    repo.garbage_collect(datetime.now(UTC) + timedelta(minutes=1))
    assert "could not be deleted: no right to delete" in messages(caplog, "maintenance")


def test_quiet_by_default() -> None:
    """A program that configures no logging sees nothing of the library's, not even warnings."""
    program = (
        "import logging, icechunk_core\n"
        "logging.getLogger('icechunk_core.session').warning('to nobody')\n"
        "icechunk_core.Repository.create('memory:')\n"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert (result.stdout, result.stderr) == ("", "")
