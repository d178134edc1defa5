"""What garbage collection keeps (FORMAT.md, section 19): decisions over ids, ages and histories."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet

import numpy as np
import numpy.typing as npt
from attrs import evolve

from icechunk_core.format.repo_info import RepoInfo
from icechunk_core.transaction import history
from icechunk_core.transaction.expiration import without_snapshots
from icechunk_core.transaction.repo_updates import require_online

__all__ = ["ByteSet", "MarksOutdated", "drop_snapshots", "kept_logs", "reachable_from_refs", "surely_older"]

_SECOND = 1_000_000
_MILLISECOND = 1_000
_MIN_PENDING = 1 << 16


class MarksOutdated(Exception):
    """The repository changed so that something marked for deletion is in use: mark again."""


def surely_older(modified_us: int, limit_us: int) -> bool:
    """Whether an object was last written before the limit.

    A time of whole seconds may come from a storage that knows no finer ones, so it stands
    for any moment of that second. Finer times stand for any moment of their millisecond: the
    digits below are not a time everywhere (local files carry random ones, to tell writes apart).

    >>> surely_older(5_000_001, 5_001_000), surely_older(5_000_001, 5_000_999)
    (True, False)
    >>> surely_older(5_000_000, 5_999_999)
    False
    """
    if modified_us % _SECOND == 0:
        return modified_us + _SECOND <= limit_us
    return modified_us - modified_us % _MILLISECOND + _MILLISECOND <= limit_us


class ByteSet:
    """A growing set of byte strings of one length, as numpy arrays: ``width`` bytes a member.

    >>> marked = ByteSet(12)
    >>> marked.add(np.zeros((3, 12), np.uint8))
    >>> len(marked), marked.contains([bytes(12), b"x" * 12]).tolist()
    (1, [True, False])
    """

    def __init__(self, width: int) -> None:
        self._width = width
        self._type = np.dtype(f"S{width}")
        self._sorted: npt.NDArray[np.bytes_] = np.empty(0, self._type)
        self._pending: list[npt.NDArray[np.bytes_]] = []
        self._waiting = 0

    def add(self, rows: npt.NDArray[np.uint8]) -> None:
        """Add the rows of ``uint8[n, width]``."""
        if not len(rows):
            return
        self._pending.append(np.ascontiguousarray(rows).view(self._type)[:, 0])
        self._waiting += len(rows)
        # Merging when the new part has outgrown the old one keeps the total work at n log n.
        if self._waiting > max(_MIN_PENDING, len(self._sorted)):
            self._settle()

    def _settle(self) -> npt.NDArray[np.bytes_]:
        if self._pending:
            merged = np.sort(np.concatenate([self._sorted, *self._pending]))
            first = np.ones(len(merged), np.bool_)
            first[1:] = merged[1:] != merged[:-1]
            self._sorted, self._pending, self._waiting = merged[first], [], 0
        return self._sorted

    def contains(self, members: Iterable[bytes]) -> npt.NDArray[np.bool_]:
        """Which of these are in the set."""
        members = list(members)
        wanted = np.array(members, self._type) if members else np.empty(0, self._type)
        mine = self._settle()
        if not len(mine):
            return np.zeros(len(wanted), np.bool_)
        at = np.searchsorted(mine, wanted)
        found: npt.NDArray[np.bool_] = mine[np.minimum(at, len(mine) - 1)] == wanted
        return found

    def rows(self) -> npt.NDArray[np.uint8]:
        """All members, sorted: ``uint8[n, width]``."""
        mine = self._settle()
        return mine.view(np.uint8).reshape(len(mine), self._width)

    def __len__(self) -> int:
        return len(self._settle())


# --- the history of spec 2 -------------------------------------------------------------


def reachable_from_refs(info: RepoInfo) -> Iterator[bytes]:
    """The snapshots that branches and tags lead to, each once."""
    seen: set[bytes] = set()
    for tip in (*info.branches.values(), *info.tags.values()):
        for entry in history.ancestry(info.snapshots, tip):
            if entry.id in seen:
                break
            seen.add(entry.id)
            yield entry.id


def drop_snapshots(info: RepoInfo, dropped: AbstractSet[bytes], known: AbstractSet[bytes]) -> RepoInfo:
    """The repo info without the snapshots that are about to be deleted.

    Parameters
    ----------
    info
        What the repo object says now: it may be newer than what ``dropped`` was decided on.
    known
        The snapshots that it listed then. Those added since stay.

    Raises
    ------
    MarksOutdated
        A ref leads to a dropped snapshot now, or a new snapshot was made on top of one.
    ReadOnlyError
        ``read-only-repository``.
    """
    require_online(info)
    if not dropped:
        return info
    infos = {entry.id: entry for entry in info.snapshots}
    if any(entry.parent_id in dropped for entry in infos.values() if entry.id not in known):
        raise MarksOutdated
    if not dropped.isdisjoint(reachable_from_refs(info)):
        raise MarksOutdated
    return evolve(info, snapshots=without_snapshots(infos, dropped))


def kept_logs(info: RepoInfo) -> set[bytes]:
    """Ids of the transaction logs that the history names: those of its snapshots and the pruned ones."""
    named: set[bytes] = set()
    for entry in info.snapshots:
        named.add(entry.id)
        named.update(entry.pruned_ancestor_tx_logs)
    return named
