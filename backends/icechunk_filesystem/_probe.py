"""What the filesystem under a root can do: tried out, not assumed.

Opening a storage for writing tries a hard link and a lock in the hidden directory and
removes all of it again (in the nearest existing directory, if the root is not there
yet). A read-only storage, or one whose directory denies writing, is not touched.
"""

from __future__ import annotations

import os
import warnings
from contextlib import suppress

import filelock
from attrs import frozen

from icechunk_core.ids import IdSource
from icechunk_filesystem._locks import native_lock
from icechunk_filesystem._paths import HIDDEN
from icechunk_filesystem._system import System

__all__ = ["Abilities", "on_network", "probe"]

_NETWORK_TYPES = frozenset(
    ("nfs", "nfs4", "cifs", "smb3", "smbfs", "ceph", "lustre", "gpfs", "beegfs", "glusterfs", "afs", "9p")
)
_ATTEMPTS = 20
_MOUNTS = "/proc/self/mounts"


@frozen
class Abilities:
    """What was found.

    Attributes
    ----------
    writable
        Whether files can be created at all.
    link
        Whether hard links work: atomic creation, also against programs without our lock.
    lock
        Whether file locks work: compare-and-swap.
    """

    writable: bool
    link: bool
    lock: bool


_NOTHING = Abilities(writable=False, link=False, lock=False)
# Found out by the first write, which says it in its own words.
_PRESUMED = Abilities(writable=True, link=True, lock=True)


def probe(root: str, system: System, ids: IdSource) -> Abilities:
    """Try out links and locks near a root."""
    if os.path.lexists(root):
        if not os.access(root, os.W_OK | os.X_OK):
            return _NOTHING
        place, hidden = root, f"{root}/{HIDDEN}"
    else:
        place = _nearest_directory(root)
        if not os.access(place, os.W_OK | os.X_OK):
            return _PRESUMED
        hidden = place
    if os.path.islink(hidden) or (os.path.lexists(hidden) and not os.path.isdir(hidden)):
        return _PRESUMED
    for _ in range(_ATTEMPTS):
        made = hidden != place and _make(hidden, system)
        folder = f"{hidden}/{HIDDEN}-probe-{ids.object_id().hex()}"
        try:
            system.make_directory(folder)
            return _try_out(folder, system)
        except FileNotFoundError:
            continue  # Another process that probed has just removed the hidden directory.
        except OSError:
            break
        finally:
            _remove(folder, system)
            if made:
                with suppress(OSError):
                    system.remove_directory(hidden)
    # Full, or over quota: no reason to deny what it usually can.
    return _PRESUMED


def on_network(path: str) -> bool:
    """Whether a path lies on a network filesystem, as far as this system tells."""
    if path.startswith(("\\\\", "//")):
        return True
    try:
        with open(_MOUNTS, encoding="utf-8", errors="surrogateescape") as mounts:
            entries = [line.split(" ")[1:3] for line in mounts]
    except OSError:
        return False
    best, kind = "", ""
    real = os.path.realpath(path)
    for point, candidate in entries:
        place = point.replace("\\040", " ").rstrip("/")
        if f"{real}/".startswith(f"{place}/") and len(place) >= len(best):
            best, kind = place, candidate
    return kind in _NETWORK_TYPES or kind.startswith("fuse.")


def _nearest_directory(path: str) -> str:
    while not os.path.isdir(path):
        parent = os.path.dirname(path)
        if parent == path:
            break
        path = parent
    return path


def _make(path: str, system: System) -> bool:
    try:
        system.make_directory(path)
    except OSError:
        return False
    return True


def _try_out(folder: str, system: System) -> Abilities:
    first, second = f"{folder}/a", f"{folder}/b"
    os.close(system.create(first))
    return Abilities(writable=True, link=_links(first, second, system), lock=_locks(f"{folder}/c"))


def _links(first: str, second: str, system: System) -> bool:
    try:
        system.link(first, second)
        system.link(first, second)
    except FileExistsError:
        return os.path.exists(second)
    except OSError:
        return False
    return False


def _locks(path: str) -> bool:
    """Whether a second holder is kept out, and let in afterwards."""
    with warnings.catch_warnings():
        # The library falls back to a kind of lock that survives its holder.
        warnings.simplefilter("ignore")
        one = native_lock(path, 0.0)
        try:
            one.acquire()
        except (OSError, NotImplementedError, filelock.Timeout):
            return False
        try:
            return not isinstance(one, filelock.SoftFileLock) and _kept_out(path)
        finally:
            one.release()


def _kept_out(path: str) -> bool:
    other = native_lock(path, 0.0)
    try:
        other.acquire()
    except filelock.Timeout:
        return True
    except (OSError, RuntimeError):
        # Some versions of the library report the same file held by the same thread as a deadlock.
        return True
    other.release()
    return False


def _remove(folder: str, system: System) -> None:
    for name in ("a", "b", "c"):
        with suppress(OSError):
            system.unlink(f"{folder}/{name}")
    with suppress(OSError):
        system.remove_directory(folder)
