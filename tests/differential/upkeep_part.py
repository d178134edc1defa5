"""Steps about settings and maintenance of a repository."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

from tests.differential.accepted import (
    collect_garbage,
    feature_flags,
    is_accepted_of_garbage,
    what_is_left,
)
from tests.differential.sessions_part import SessionsPart
from tests.differential.sides import Failure, Side, tick, update
from tests.differential.views import time_of

__all__ = ["UpkeepPart"]


class UpkeepPart(SessionsPart):
    """Part of `Program`."""

    folder: Path
    marks: list[datetime]
    spec_version: int

    def set_metadata(self, action: str, metadata: dict[str, Any]) -> None:
        """Metadata of the repository."""
        self.pair.call(lambda side: getattr(side.repo, action)(metadata))
        self.pair.call(lambda side: side.repo.metadata)

    def set_feature_flag(self, flag: str, setting: bool | None) -> None:
        """Switch a feature on or off."""
        self.pair.call(lambda side: side.repo.set_feature_flag(flag, setting))
        self.pair.call(lambda side: feature_flags(side.repo))

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

    def reopen(self) -> None:
        """Open both repositories anew; sessions stay as they are."""
        for side in self.pair.sides:
            side.repo = side.open(side.root)
        self.pair.call(lambda side: int(side.repo.spec_version))
        self.look_at_refs()

    def save_config(self, inline: int, page: int) -> None:
        """Other settings from now on: what is inline, and how the operations log is paged."""

        def change(side: Side) -> Any:
            config = side.repo.config
            config.inline_chunk_threshold_bytes = inline
            config.num_updates_per_repo_info_file = page
            side.repo = side.open(side.root, config=config)
            side.repo.save_config()
            stored = side.ic.Repository.fetch_config(side.ic.local_filesystem_storage(str(side.root)))
            return [stored.inline_chunk_threshold_bytes, stored.num_updates_per_repo_info_file]

        self.pair.call(change)
        self.reopen()

    def rewrite_manifests(self, branch: str, method: str, metadata: Any) -> None:
        """Rewrite manifests, in a commit of its own."""
        message = self.message()
        self.pair.new_snapshot(
            lambda side: side.repo.rewrite_manifests(
                message, branch=branch, metadata=metadata, commit_method=method
            )
        )
        self.look_at_refs()

    def mark_time(self) -> None:
        """Remember a time that later steps may use as a limit."""
        self.marks.append(tick(self.folder))

    def expire(self, mark: int, branches: bool, tags: bool) -> None:
        """Leave out old snapshots of all histories."""
        if not self.marks:
            return
        limit = self.marks[mark % len(self.marks)]
        self.pair.call(
            lambda side: side.repo.expire_snapshots(
                limit, delete_expired_branches=branches, delete_expired_tags=tags
            )
        )
        self.look_at_refs()

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

    def collect_garbage_until(self, mark: int, dry_run: bool) -> None:
        """Delete what nothing refers to and is older than a time."""
        if not self.marks:
            return
        self.collect(self.marks[mark % len(self.marks)], dry_run)
        if not dry_run:
            # What ours keeps longer is deleted later.
            self.leftovers = self.leftovers or self.pair.differ
            self.begin_anew()

    def collect_garbage(self, dry_run: bool) -> None:
        """Delete all that nothing refers to: nothing else is left."""
        self.collect(tick(self.folder), dry_run)
        if not dry_run:
            self.leftovers = False
            self.pair.call(what_is_left)
            self.begin_anew()

    def collect(self, limit: datetime, dry_run: bool) -> None:
        """Collect garbage and compare the counts."""
        self.collected = self.collected or not dry_run
        self.pair.call(
            lambda side: collect_garbage(side, limit, dry_run=dry_run),
            lambda ours, theirs: is_accepted_of_garbage(
                ours, theirs, dry_run=dry_run, leftovers=self.leftovers
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

    def look_at_log(self) -> None:
        """The operations log."""
        self.pair.call(lambda side: [update(entry, side) for entry in side.repo.ops_log()])

    def measure(self) -> None:
        """Statistics of chunks."""
        self.pair.call(lambda side: side.repo.chunk_storage_stats())

    def migrate(self, dry_run: bool, delete: bool) -> None:
        """Bring the repository from spec 1 to spec 2."""
        if self.spec_version > 1:
            return

        def upgrade(side: Side) -> None:
            side.repo = side.ic.upgrade_icechunk_repository(
                side.repo, dry_run=dry_run, delete_unused_v1_files=delete
            )

        if isinstance(self.pair.call(upgrade), Failure):
            return
        if not dry_run:
            self.spec_version = 2
        self.begin_anew()
