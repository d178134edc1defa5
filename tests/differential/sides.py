"""One call on two implementations, and the comparison of what they answer."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from attrs import define, field
from zarr.core.sync import sync

from tests.differential.accepted import enum_name, is_accepted, same_class
from tests.interop.implementations import OURS, create, open_repo

__all__ = ["INITIAL", "Failure", "Pair", "Side", "enum_name", "plain", "tick", "update"]

INITIAL = "1CECHNKREP0F1RSTCMT0"
FILE_BYTES = bytes(range(1, 256))
THRESHOLD = 12
Accept = Callable[[Any, Any], bool]
MILLISECOND = timedelta(milliseconds=1)


@define
class Side:
    """An implementation with its repository and its open sessions."""

    ic: Any
    folder: Path
    file: Path
    repo: Any = None
    sessions: dict[int, Any] = field(factory=dict)
    forks: dict[int, Any] = field(factory=dict)
    packs: bool = False
    ids: list[str] = field(factory=lambda: [INITIAL])
    names: dict[str, str] = field(factory=lambda: {INITIAL: "s0"})

    @property
    def root(self) -> Path:
        """Where this side's repository is."""
        return self.folder / "repo"

    def create(self, spec_version: int, split: bool, packs: bool) -> None:
        """The repository: inline chunks up to 12 bytes, a virtual container, split manifests or not.

        Only ours has packs.
        """
        ic = self.ic
        self.packs = packs
        config = ic.RepositoryConfig.default()
        config.inline_chunk_threshold_bytes = THRESHOLD
        store = ic.ObjectStoreConfig.LocalFileSystem(str(self.file.parent))
        config.set_virtual_chunk_container(ic.VirtualChunkContainer(f"file://{self.file.parent}/", store))
        if split:
            sizes = {ic.ManifestSplitCondition.AnyArray(): {ic.ManifestSplitDimCondition.Any(): 2}}
            config.manifest = ic.ManifestConfig(splitting=ic.ManifestSplittingConfig.from_dict(sizes))
        create(ic, self.root, spec_version=spec_version, config=config).save_config()
        self.repo = self.open(self.root)

    def open(self, root: Path, **options: Any) -> Any:
        """A repository, with access to the virtual chunks."""
        prefix = f"file://{self.file.parent}/"
        access = self.ic.containers_credentials({prefix: self.ic.Credentials.LocalFileSystemAccess()})
        if self.ic is OURS:
            options["packs"] = self.packs
        return open_repo(self.ic, root, authorize_virtual_chunk_access=access, **options)


@define
class Failure:
    """An error, and what it says beside its text."""

    error: BaseException
    kind: str | None
    details: Any

    def __str__(self) -> str:
        return f"{type(self.error).__name__} [{self.kind}] {self.details}: {self.error}"


@define
class Pair:
    """Both sides."""

    ours: Side
    peer: Side
    differ: bool = False
    broken: bool = False

    @classmethod
    def start(cls, folder: Path, peer: Any) -> Pair:
        """Two empty directories beside a file with the bytes of virtual chunks."""
        file = folder / "data" / "raw.bin"
        file.parent.mkdir()
        file.write_bytes(FILE_BYTES)
        return cls(Side(OURS, folder / "ours", file), Side(peer, folder / "peer", file))

    @property
    def sides(self) -> tuple[Side, Side]:
        """Ours, and the peer's."""
        return self.ours, self.peer

    def call(self, action: Callable[[Side], Any], accept: Accept | None = None) -> Any:
        """Do the same on both sides: both answer the same, or both fail the same way. Gives our answer.

        Where the outcomes `differ`, ``accept`` says whether they may; by default only errors may, as
        `accepted.is_accepted` has it.
        """
        ours, theirs = (self._outcome(side, action) for side in self.sides)
        self.differ = not is_same(ours, theirs)
        if self.differ and not (accept or errors_may_differ)(ours, theirs):
            self.broken = True
            cause = next((one.error for one in (ours, theirs) if isinstance(one, Failure)), None)
            raise (
                AssertionError(f"ours: {ours}\npeer: {theirs}")
                if isinstance(ours, Failure) or isinstance(theirs, Failure)
                else AssertionError("ours != peer: " + difference(ours, theirs))
            ) from cause
        return ours

    def new_snapshot(self, action: Callable[[Side], str]) -> bool:
        """The same for what gives a new snapshot: remembers its two ids as one. Whether there was one."""
        fresh: list[str] = []

        def noting(side: Side) -> str:
            fresh.append(action(side))
            return "new"

        if isinstance(self.call(noting), Failure):
            return False
        for side, id in zip(self.sides, fresh, strict=True):
            assert id not in side.names
            side.names[id] = f"s{len(side.ids)}"
            side.ids.append(id)
        return True

    def _outcome(self, side: Side, action: Callable[[Side], Any]) -> Any:
        try:
            return plain(action(side), side)
        except (AssertionError, AttributeError, NameError):  # a mistake of the test
            raise
        except BaseException as error:
            if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
                raise
            settle()
            return Failure(error, kind_of(error), details(error, side))


def settle() -> None:
    """Wait for what zarr began beside that which failed: the peer's blocking calls may hang else."""

    async def wait() -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.gather(*others, return_exceptions=True)

    sync(wait())


def is_same(ours: Any, theirs: Any) -> bool:
    """Whether both outcomes are the same."""
    if not (isinstance(ours, Failure) and isinstance(theirs, Failure)):
        return bool(ours == theirs)
    return same_class(ours.error, theirs.error) and (ours.kind, ours.details) == (theirs.kind, theirs.details)


def errors_may_differ(ours: Any, theirs: Any) -> bool:
    """Whether two different outcomes, not two values, are accepted."""
    errors = [one.error if isinstance(one, Failure) else None for one in (ours, theirs)]
    return any(errors) and is_accepted(*errors)


def kinds_of(*outcomes: Any) -> list[str | None]:
    """The codes of errors, "" for answers."""
    return [one.kind if isinstance(one, Failure) else "" for one in outcomes]


def difference(ours: Any, theirs: Any, place: str = "") -> str:
    """Where two values differ."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        keys = [key for key in {**ours, **theirs} if ours.get(key, "nothing") != theirs.get(key, "nothing")]
        return "\n".join(
            difference(ours.get(key, "nothing"), theirs.get(key, "nothing"), f"{place}[{key!r}]")
            for key in keys
        )
    return f"{place}: {ours} != {theirs}"


def kind_of(error: BaseException) -> str | None:
    """The code of an error; ``None`` if it is Python's or zarr's."""
    kind = getattr(error, "kind", None)
    return None if kind is None else str(kind)


def details(error: Any, side: Side) -> Any:
    """What an error of commits and rebases says about snapshots and conflicts."""
    if hasattr(error, "conflicts"):
        found = [
            (enum_name(c.conflict_type), c.path, sorted(map(tuple, c.conflicted_chunks or ())))
            for c in error.conflicts
        ]
        return side.names[error.snapshot], sorted(found)
    if hasattr(error, "expected_parent"):
        return tuple(side.names.get(id, id) for id in (error.expected_parent, error.actual_parent))
    return None


def plain(value: Any, side: Side) -> Any:
    """A value as plain Python, ids of snapshots as names that both sides share, without times."""
    if isinstance(value, str):
        return side.names.get(value, value)
    if value is None or isinstance(value, bool | int | float | bytes):
        return value
    if isinstance(value, dict):
        return {plain(key, side): plain(item, side) for key, item in value.items()}
    if isinstance(value, set | frozenset):
        return sorted(plain(item, side) for item in value)
    if isinstance(value, list | tuple):
        return [plain(item, side) for item in value]
    return {name: plain(getattr(value, name), side) for name in FIELDS[type(value).__name__]}


def update(value: Any, side: Side) -> Any:
    """An entry of the operations log: its kind, and what it says."""
    kind = value.kind
    said = {name: plain(getattr(kind, name), side) for name in UPDATE if hasattr(kind, name)}
    return type(kind).__name__.rpartition("_")[2], said


UPDATE = (
    "name", "branch", "previous_snap_id", "new_snap_id", "id", "new_value", "from_version", "to_version",
    "status",
)  # fmt: skip
DIFF = (
    "new_groups", "new_arrays", "deleted_groups", "deleted_arrays", "updated_groups", "updated_arrays",
    "updated_chunks", "moved_nodes",
)  # fmt: skip
FIELDS = {
    "Diff": DIFF,
    "SnapshotInfo": ("id", "parent_id", "message", "metadata"),
    "RepoStatus": ("limited_availability_reason",),
    "FeatureFlag": ("id", "name", "default_enabled", "setting", "enabled"),
    "ManifestFileInfo": ("num_chunk_refs",),
    "ChunkStorageStats": ("native_bytes", "virtual_bytes", "inlined_bytes"),
}


def tick(folder: Path) -> datetime:
    """A time after all that was written until now, and not after what is written from now on.

    Clocks of file systems are coarse, and storages tell times in milliseconds: waits for the next one.
    """
    mark = folder / "mark"

    def now() -> int:
        mark.write_bytes(b"x")
        return os.stat(mark).st_mtime_ns // 1_000_000

    before = now()
    while (moment := now()) == before:
        pass
    return datetime.fromtimestamp(0, UTC) + moment * MILLISECOND
