"""What can be seen of a repository: both implementations must show the same."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from tests.differential.accepted import contents, enum_name, feature_flags
from tests.differential.sides import Side, plain, update

__all__ = [
    "id_of",
    "refs_of",
    "repository_state",
    "session_properties",
    "session_state",
    "time_of",
    "version",
]


def id_of(side: Side, number: int) -> str:
    """One of the latest snapshots: 0 is the newest; the last number is one that does not exist."""
    if number == 6:
        return "0000000000000000000G"
    return side.ids[max(-len(side.ids), -1 - number)]


def time_of(side: Side, number: int, microseconds: int) -> datetime:
    """About the time when this side wrote one of the latest snapshots."""
    written_at: datetime = side.repo.lookup_snapshot(id_of(side, number)).written_at
    return written_at + timedelta(microseconds=microseconds)


def refs_of(repo: Any) -> dict[str, dict[str, str]]:
    """Where branches and tags are."""
    return {
        "branches": {name: repo.lookup_branch(name) for name in repo.list_branches()},
        "tags": {name: repo.lookup_tag(name) for name in repo.list_tags()},
    }


def version(repo: Any, id: str) -> dict[str, bytes]:
    """What a version holds."""
    return contents(repo.readonly_session(snapshot_id=id).store)


def session_state(session: Any, side: Side) -> dict[str, Any]:
    """What can be seen of a session."""
    return {**session_properties(session), "contents": contents(session.store)}


def session_properties(session: Any) -> dict[str, Any]:
    """What a session is, and what has changed in it."""
    return {
        "read only": session.read_only,
        "mode": enum_name(session.mode),
        "branch": session.branch,
        "base": session.snapshot_id,
        "changed": session.has_uncommitted_changes,
        "status": session.status(),
    }


def repository_state(repo: Any, side: Side) -> dict[str, Any]:
    """Refs; histories and contents of all versions; what changed from each to the next; the log."""
    refs = refs_of(repo)
    tips = sorted({*refs["branches"].values(), *refs["tags"].values()}, key=side.names.__getitem__)
    histories = [list(repo.ancestry(snapshot_id=tip)) for tip in tips]
    ids = {info.id for history in histories for info in history}
    steps = {(info.parent_id, info.id) for history in histories for info in history[:-1]}
    state = {
        "refs": plain(refs, side),
        "histories": [plain(history, side) for history in histories],
        "contents": {side.names[id]: version(repo, id) for id in ids},
        "diffs": {side.names[to]: plain(diff_or_kind(repo, start, to), side) for start, to in steps},
    }
    if int(repo.spec_version) > 1:
        state["status"] = plain(repo.status, side)
        state["metadata"] = repo.metadata
        state["flags"] = plain(feature_flags(repo), side)
        state["log"] = [update(entry, side) for entry in repo.ops_log()]
    return state


def diff_or_kind(repo: Any, start: str, end: str) -> Any:
    """The difference, or the kind of the error: after expiry in spec 1 some cannot be told."""
    try:
        return repo.diff(from_snapshot_id=start, to_snapshot_id=end)
    except Exception as error:
        return str(getattr(error, "kind", error))
