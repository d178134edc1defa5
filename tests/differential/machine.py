"""The same random program of API calls on icechunk-core and on Icechunk, each in its own directory.

Every call must give the same value or the same error on both sides; ids of snapshots are
compared by a name that both sides share. After each step the sessions and refs that it
touched are compared, and in the end each side opens the other's repository.
"""

from __future__ import annotations

import pickle
import shutil
import tempfile
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from tests.differential import actions
from tests.differential.accepted import (
    collect_garbage,
    contents,
    feature_flags,
    has_new_nodes,
    is_accepted_of_garbage,
    is_accepted_when_stranded,
    stranded,
    what_is_left,
)
from tests.differential.sides import Failure, Pair, Side, enum_name, kinds_of, plain, tick, update
from tests.interop.implementations import load_peer

__all__ = ["DifferentialMachine"]

SLOTS = st.sampled_from([0, 1, 2])
BRANCHES = st.sampled_from(["main", "main", "main", "dev"])
SNAPSHOTS = st.integers(0, 6)
MICROSECONDS = st.sampled_from([-1, 0, 1])
METADATA = st.none() | st.dictionaries(st.sampled_from(["k", "ü"]), st.integers(0, 9), max_size=2)
SHARED_MEMORY = Path("/dev/shm")


class DifferentialMachine(RuleBasedStateMachine):
    """See the module."""

    def __init__(self) -> None:
        super().__init__()
        # The programs are about results, not about disks; without a disk many more run.
        place = SHARED_MEMORY if SHARED_MEMORY.is_dir() else None
        self.folder = Path(tempfile.mkdtemp(prefix="differential-", dir=place))
        self.pair = Pair.start(self.folder, load_peer())
        self.marks: list[datetime] = []
        self.born: dict[int, int] = {}
        self.number = 0
        # Whether the peer left more behind: see `accepted.is_accepted_of_garbage`.
        self.leftovers = False

    def teardown(self) -> None:
        try:
            if self.pair.ours.repo is not None and not self.pair.broken:
                self.compare_repositories()
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)

    @initialize(spec_version=st.sampled_from([2, 2, 2, 1]), split=st.booleans())
    def start(self, spec_version: int, split: bool) -> None:
        """A repository with two arrays and two groups."""
        self.spec_version = spec_version
        for side in self.pair.sides:
            side.create(spec_version, split)
        self.open_session(0, "main", "writable_session")
        changes: list[tuple[Any, ...]] = [
            ("create_group", "", {}),
            ("create_array", "a", (6,), False),
            ("create_array", "g/a", (3, 4), True),
            ("write", "a", 0, 1),
            ("write", "g/a", 1, 2),
        ]
        self.change(0, changes)
        self.commit(0, None, None, False, "writable_session")
        for slot in (1, 2):
            self.open_session(slot, "main", "writable_session")

    # --- sessions

    def has(self, slot: int) -> bool:
        """Whether there is a session of that number."""
        return slot in self.pair.ours.sessions

    @rule(
        slot=SLOTS,
        branch=BRANCHES,
        mode=st.sampled_from(["writable_session", "writable_session", "rearrange_session"]),
    )
    def open_session(self, slot: int, branch: str, mode: str) -> None:
        """A session that changes chunks and metadata, or one that moves nodes."""

        def begin(side: Side) -> str:
            side.sessions[slot] = getattr(side.repo, mode)(branch)
            side.forks.pop(slot, None)
            return str(side.sessions[slot].snapshot_id)

        self.pair.call(begin)
        self.born[slot] = len(self.marks)

    @rule(slot=SLOTS, changes=st.lists(actions.CHANGES, min_size=1, max_size=5))
    def change(self, slot: int, changes: list[tuple[Any, ...]]) -> None:
        """Change something and leave it uncommitted."""
        if not self.has(slot):
            return
        for name, *arguments in changes:
            self.pair.call(lambda side: actions.apply(side, side.sessions[slot], name, *arguments))  # noqa: B023
        self.look(slot)

    @rule(
        slot=SLOTS,
        solver=actions.SOLVERS,
        metadata=METADATA,
        allow_empty=st.booleans(),
        reopen=st.sampled_from(["writable_session", "writable_session", "rearrange_session", None]),
    )
    def commit(
        self, slot: int, solver: str | None, metadata: Any, allow_empty: bool, reopen: str | None
    ) -> None:
        """Commit, with rebasing or not."""
        if not self.has(slot) or (solver and self.rebase_if_stranded(slot, solver)):
            return
        message = self.message()
        self.end(
            slot,
            lambda side: side.sessions[slot].commit(
                message, metadata, rebase_with=actions.solver(side, solver), rebase_tries=4,
                allow_empty=allow_empty,
            ),
            reopen,
        )  # fmt: skip

    @rule(slot=SLOTS, metadata=METADATA, allow_empty=st.booleans())
    def amend(self, slot: int, metadata: Any, allow_empty: bool) -> None:
        """Replace the last commit."""
        if not self.has(slot):
            return
        message = self.message()
        self.end(
            slot,
            lambda side: side.sessions[slot].amend(message, metadata=metadata, allow_empty=allow_empty),
            "writable_session",
        )

    @rule(slot=SLOTS, metadata=METADATA)
    def flush(self, slot: int, metadata: Any) -> None:
        """A snapshot that is on no branch."""
        message = self.message()
        self.end(slot, lambda side: side.sessions[slot].flush(message, metadata=metadata), "writable_session")

    def rebase_if_stranded(self, slot: int, solver: str) -> bool:
        """Rebase a session whose base is no longer in its branch's history; whether it did not survive.

        Where the outcomes differ in an accepted way, the session ends on both sides.
        """
        ours = self.pair.ours
        if not stranded(ours.repo, ours.sessions[slot]):
            return False
        self.pair.call(
            lambda side: side.sessions[slot].rebase(actions.solver(side, solver)),
            lambda one, other: is_accepted_when_stranded(*kinds_of(one, other)),
        )
        if self.pair.differ:
            for side in self.pair.sides:
                del side.sessions[slot]
                side.forks.pop(slot, None)
        else:
            self.look(slot)
        return self.pair.differ

    def message(self) -> str:
        """Another one for each commit."""
        self.number += 1
        return f"commit {self.number}"

    def end(self, slot: int, action: Any, reopen: str | None) -> None:
        """Make a snapshot of a session; look at it and at the branch; open the next session."""
        if not self.has(slot):
            return
        done = self.pair.new_snapshot(action)
        self.look(slot)
        self.look_at_refs()
        if done:
            self.look_at_snapshot(len(self.pair.ours.ids) - 1)
            if reopen:
                branch = self.pair.ours.sessions[slot].branch or "main"
                self.open_session(slot, branch, reopen)

    @rule(slot=SLOTS, solver=actions.SOLVERS.filter(bool))
    def rebase(self, slot: int, solver: str) -> None:
        """Bring a session up to date."""
        if self.has(slot) and not self.rebase_if_stranded(slot, solver):
            self.pair.call(lambda side: side.sessions[slot].rebase(actions.solver(side, solver)))
            self.look(slot)

    @rule(slot=SLOTS, others=st.lists(st.lists(actions.CHANGES, min_size=1, max_size=3), max_size=2))
    def fork_and_merge(self, slot: int, others: list[list[tuple[Any, ...]]]) -> None:
        """Change forks of a session, as other processes do, and merge them."""
        if not self.has(slot) or has_new_nodes(self.pair.ours.sessions[slot]):
            return

        def fork(side: Side) -> None:
            side.forks[slot] = [pickle.loads(pickle.dumps(side.sessions[slot].fork())) for _ in others]

        if isinstance(self.pair.call(fork), Failure):
            return
        for number, changes in enumerate(others):
            for name, *arguments in changes:
                self.pair.call(lambda side: actions.apply(side, side.forks[slot][number], name, *arguments))  # noqa: B023
        self.pair.call(lambda side: side.sessions[slot].merge(*side.forks[slot]))
        self.look(slot)

    def look(self, slot: int) -> None:
        """A session's properties, its changes, and all that it holds."""
        self.pair.call(lambda side: session_state(side.sessions[slot], side))

    # --- refs

    @rule(
        action=st.sampled_from(["create_branch", "reset_branch", "create_tag"]),
        name=st.sampled_from(["dev", "dev", "main", "v 1", "", "a/b"]),
        snapshot=SNAPSHOTS,
    )
    def set_ref(self, action: str, name: str, snapshot: int) -> None:
        """Create or reset a branch, or create a tag."""
        self.pair.call(lambda side: getattr(side.repo, action)(name, id_of(side, snapshot)))
        self.look_at_refs()

    @rule(
        action=st.sampled_from(["delete_branch", "delete_tag"]),
        name=st.sampled_from(["dev", "dev", "main", "v 1", "", "none"]),
    )
    def delete_ref(self, action: str, name: str) -> None:
        """Delete a branch or a tag."""
        self.pair.call(lambda side: getattr(side.repo, action)(name))
        self.look_at_refs()

    @rule(snapshot=SNAPSHOTS, expected=SNAPSHOTS)
    def reset_branch_from(self, snapshot: int, expected: int) -> None:
        """Reset a branch that must be where one thinks it is."""
        self.pair.call(
            lambda side: side.repo.reset_branch(
                "main", id_of(side, snapshot), from_snapshot_id=id_of(side, expected)
            )
        )
        self.look_at_refs()

    def look_at_refs(self) -> None:
        """Branches, tags and the history of main."""
        self.pair.call(lambda side: [refs_of(side.repo), list(side.repo.ancestry(branch="main"))])

    @rule(snapshot=SNAPSHOTS)
    def look_at_snapshot(self, snapshot: int) -> None:
        """A version, its history and its contents."""
        self.pair.call(lambda side: side.repo.lookup_snapshot(id_of(side, snapshot)))
        self.pair.call(lambda side: list(side.repo.ancestry(snapshot_id=id_of(side, snapshot))))
        self.pair.call(lambda side: version(side.repo, id_of(side, snapshot)))
        self.pair.call(
            lambda side: sum(f.num_chunk_refs for f in side.repo.list_manifest_files(id_of(side, snapshot)))
        )

    @rule(start=SNAPSHOTS, end=SNAPSHOTS)
    def diff(self, start: int, end: int) -> None:
        """The difference of two versions, in any order."""
        self.pair.call(
            lambda side: side.repo.diff(from_snapshot_id=id_of(side, start), to_snapshot_id=id_of(side, end))
        )

    @rule(start=BRANCHES, end=st.sampled_from(["main", "dev", "v 1"]))
    def diff_of_refs(self, start: str, end: str) -> None:
        """The difference of what a branch and a branch or tag point to."""
        to = {"to_tag" if end.startswith("v") else "to_branch": end}
        self.pair.call(lambda side: side.repo.diff(from_branch=start, **to))

    @rule(branch=BRANCHES, snapshot=SNAPSHOTS, microseconds=MICROSECONDS)
    def look_at_the_past(self, branch: str, snapshot: int, microseconds: int) -> None:
        """A branch as it was at about the time of a snapshot."""

        def open_past(side: Side) -> Any:
            session = side.repo.readonly_session(branch, as_of=time_of(side, snapshot, microseconds))
            return session_state(session, side)

        self.pair.call(open_past)

    # --- the repository

    @rule(
        action=st.sampled_from(["set_metadata", "update_metadata"]),
        metadata=st.dictionaries(st.sampled_from(["k", "ü"]), st.none() | st.integers(0, 9), max_size=2),
    )
    def set_metadata(self, action: str, metadata: dict[str, Any]) -> None:
        """Metadata of the repository."""
        self.pair.call(lambda side: getattr(side.repo, action)(metadata))
        self.pair.call(lambda side: side.repo.metadata)

    @rule(
        flag=st.sampled_from(["move_node", "create_tag", "delete_tag", "none"]),
        setting=st.sampled_from([True, False, None]),
    )
    def set_feature_flag(self, flag: str, setting: bool | None) -> None:
        """Switch a feature on or off."""
        self.pair.call(lambda side: side.repo.set_feature_flag(flag, setting))
        self.pair.call(lambda side: feature_flags(side.repo))

    @rule(slot=SLOTS, reason=st.none() | st.just("repairs"), change=actions.CHANGES)
    def be_read_only_for_a_while(self, slot: int, reason: str | None, change: tuple[Any, ...]) -> None:
        """While the repository is read-only nothing can be committed; then it is online again."""
        self.set_status("read_only", reason)
        self.pair.call(lambda side: str(side.repo.writable_session("main").snapshot_id))
        self.set_ref("create_tag", "while read-only", 0)
        self.set_metadata("update_metadata", {"k": 1})
        self.change(slot, [change])
        self.commit(slot, "detect", None, False, "writable_session")
        self.leftovers = True
        self.reopen()
        self.set_status("online", None)

    def set_status(self, availability: str, reason: str | None) -> None:
        """Set and get the status of the repository."""

        def change(side: Side) -> Any:
            kind = getattr(side.ic.RepoAvailability, availability)
            side.repo.set_status(side.ic.RepoStatus(kind, limited_availability_reason=reason))
            return [side.repo.status, side.repo.status.availability == kind]

        self.pair.call(change)

    @rule()
    def reopen(self) -> None:
        """Open both repositories anew; sessions stay as they are."""
        for side in self.pair.sides:
            side.repo = side.open(side.root)
        self.pair.call(lambda side: int(side.repo.spec_version))
        self.look_at_refs()

    @rule(branch=BRANCHES, method=st.sampled_from(["new_commit", "new_commit", "amend"]), metadata=METADATA)
    def rewrite_manifests(self, branch: str, method: str, metadata: Any) -> None:
        """Rewrite manifests, in a commit of its own."""
        message = self.message()
        self.pair.new_snapshot(
            lambda side: side.repo.rewrite_manifests(
                message, branch=branch, metadata=metadata, commit_method=method
            )
        )
        self.look_at_refs()

    @rule()
    def mark_time(self) -> None:
        """Remember a time that later steps may use as a limit."""
        self.marks.append(tick(self.folder))

    @precondition(lambda self: self.marks)
    @rule(mark=st.integers(0, 9), branches=st.booleans(), tags=st.booleans())
    def expire(self, mark: int, branches: bool, tags: bool) -> None:
        """Leave out old snapshots of all histories."""
        limit = self.marks[mark % len(self.marks)]
        self.pair.call(
            lambda side: side.repo.expire_snapshots(
                limit, delete_expired_branches=branches, delete_expired_tags=tags
            )
        )
        self.look_at_refs()

    @rule(snapshot=SNAPSHOTS, microseconds=MICROSECONDS, branches=st.booleans(), tags=st.booleans())
    def expire_to_the_microsecond(self, snapshot: int, microseconds: int, branches: bool, tags: bool) -> None:
        """Leave out snapshots until just before, at or just after the time of one of them."""
        self.pair.call(
            lambda side: side.repo.expire_snapshots(
                time_of(side, snapshot, microseconds),
                delete_expired_branches=branches,
                delete_expired_tags=tags,
            )
        )
        self.look_at_refs()

    @precondition(lambda self: self.marks)
    @rule(mark=st.integers(0, 9), dry_run=st.booleans())
    def collect_garbage_until(self, mark: int, dry_run: bool) -> None:
        """Delete what nothing refers to and is older than a time."""
        self.collect(self.marks[mark % len(self.marks)], dry_run, limit_is_now=False)
        if not dry_run:
            # What ours keeps longer is deleted later.
            self.leftovers = self.leftovers or self.pair.differ
            self.begin_anew()

    @rule(dry_run=st.booleans())
    def collect_garbage(self, dry_run: bool) -> None:
        """Delete all that nothing refers to: nothing else is left."""
        self.collect(tick(self.folder), dry_run, limit_is_now=True)
        if not dry_run:
            self.leftovers = False
            self.pair.call(what_is_left)
            self.begin_anew()

    def collect(self, limit: datetime, dry_run: bool, *, limit_is_now: bool) -> None:
        """Collect garbage and compare the counts."""
        self.pair.call(
            lambda side: collect_garbage(side, limit, dry_run=dry_run),
            lambda ours, theirs: is_accepted_of_garbage(
                ours, theirs, dry_run=dry_run, leftovers=self.leftovers, limit_is_now=limit_is_now
            ),
        )

    def begin_anew(self) -> None:
        """Forget all sessions, since it may be their base that is gone, and open new ones."""
        for side in self.pair.sides:
            side.sessions.clear()
            side.forks.clear()
        self.reopen()
        for slot in (0, 1, 2):
            self.open_session(slot, "main", "writable_session")

    @rule()
    def look_at_log(self) -> None:
        """The operations log."""
        self.pair.call(lambda side: [update(entry, side) for entry in side.repo.ops_log()])

    @rule()
    def measure(self) -> None:
        """Statistics of chunks."""
        self.pair.call(lambda side: side.repo.chunk_storage_stats())

    @precondition(lambda self: self.spec_version == 1)
    @rule(dry_run=st.booleans(), delete=st.booleans())
    def migrate(self, dry_run: bool, delete: bool) -> None:
        """Bring the repository from spec 1 to spec 2."""

        def upgrade(side: Side) -> None:
            side.repo = side.ic.upgrade_icechunk_repository(
                side.repo, dry_run=dry_run, delete_unused_v1_files=delete
            )

        if isinstance(self.pair.call(upgrade), Failure):
            return
        if not dry_run:
            self.spec_version = 2
        self.begin_anew()

    # --- the end

    def compare_repositories(self) -> None:
        """Each side reads both repositories and sees the same."""
        self.look_at_log()
        peer = self.pair.peer
        read = {
            f"{reader.ic.__name__} reads {written.ic.__name__}": repository_state(
                reader.open(written.root), written
            )
            for reader in self.pair.sides
            for written in self.pair.sides
        }
        expected = read.pop(f"{peer.ic.__name__} reads {peer.ic.__name__}")
        for name, state in read.items():
            for topic, value in expected.items():
                assert state[topic] == value, f"{name}: {topic}"


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
    return {
        "read only": session.read_only,
        "mode": enum_name(session.mode),
        "branch": session.branch,
        "base": session.snapshot_id,
        "changed": session.has_uncommitted_changes,
        "status": session.status(),
        "contents": contents(session.store),
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
