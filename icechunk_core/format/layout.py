"""Keys of the objects in a repository, relative to its root (FORMAT.md, section 2)."""

from __future__ import annotations

import re
import urllib.parse
from typing import Literal, TypeAlias

from icechunk_core.error_kinds import ErrorKind
from icechunk_core.errors import InvalidInputError
from icechunk_core.format import base32

__all__ = [
    "CHUNKS_PREFIX",
    "CONFIG_KEY",
    "INITIAL_MESSAGE",
    "INITIAL_SNAPSHOT_ID",
    "MANIFESTS_PREFIX",
    "OVERWRITTEN_PREFIX",
    "REFS_PREFIX",
    "REPO_KEY",
    "SNAPSHOTS_PREFIX",
    "TRANSACTIONS_PREFIX",
    "RefKind",
    "backup_key",
    "backup_name",
    "branch_key",
    "chunk_key",
    "id_of_key",
    "manifest_key",
    "parse_ref_key",
    "snapshot_key",
    "tag_key",
    "tombstone_key",
    "transaction_key",
    "validate_ref_name_v1",
]

REPO_KEY = "repo"
CONFIG_KEY = "config.yaml"
REFS_PREFIX = "refs/"
SNAPSHOTS_PREFIX = "snapshots/"
MANIFESTS_PREFIX = "manifests/"
TRANSACTIONS_PREFIX = "transactions/"
CHUNKS_PREFIX = "chunks/"
OVERWRITTEN_PREFIX = "overwritten/"

INITIAL_SNAPSHOT_ID = bytes.fromhex("0b1cc8d6787580f0e33a6534")
"""Id of the first snapshot of every repository."""

INITIAL_MESSAGE = "Repository initialized"

_YEAR_3000_MS = 32_503_680_000_000

RefKind: TypeAlias = Literal["branch", "tag"]


def snapshot_key(snapshot_id: bytes) -> str:
    """Key of a snapshot file.

    >>> snapshot_key(INITIAL_SNAPSHOT_ID)
    'snapshots/1CECHNKREP0F1RSTCMT0'
    """
    return SNAPSHOTS_PREFIX + base32.encode(snapshot_id)


def manifest_key(manifest_id: bytes) -> str:
    """Key of a manifest file."""
    return MANIFESTS_PREFIX + base32.encode(manifest_id)


def transaction_key(snapshot_id: bytes) -> str:
    """Key of the transaction log of a snapshot."""
    return TRANSACTIONS_PREFIX + base32.encode(snapshot_id)


def chunk_key(chunk_id: bytes) -> str:
    """Key of a chunk object."""
    return CHUNKS_PREFIX + base32.encode(chunk_id)


def id_of_key(key: str, prefix: str) -> bytes | None:
    """The id that a key below ``prefix`` is named after, or None if it is named otherwise.

    Only the canonical spelling counts: any other would name a different object under the same id.

    >>> id_of_key("chunks/000G40R40M30E209185G", CHUNKS_PREFIX) == bytes(range(12))
    True
    >>> id_of_key("chunks/notes.txt", CHUNKS_PREFIX) is None
    True
    """
    if not key.startswith(prefix):
        return None
    text = key[len(prefix) :]
    try:
        value = base32.decode(text)
    except InvalidInputError:
        return None
    return value if base32.encode(value) == text else None


def backup_name(stem: str, now_us: int, random_id: bytes) -> str:
    """File name, below ``overwritten/``, of a backup of ``stem`` (``repo`` or ``config.yaml``).

    Newer backups sort first. The name without the prefix is what the ops log stores.

    >>> backup_name("repo", 1_795_421_433_257_000, bytes(12))
    'repo.30708258566743.00000000000000000000'
    """
    return f"{stem}.{_YEAR_3000_MS - now_us // 1000:014d}.{base32.encode(random_id)}"


def backup_key(name: str) -> str:
    """Key of the backup with that file name."""
    return OVERWRITTEN_PREFIX + name


# --- spec 1 refs ---------------------------------------------------------------

_ESCAPED = re.compile(r"[^\x20-\x7e]|[\"#%*<>?\[\\\]^{|}~`]")
_PORTABLE_NAME = re.compile(r"[A-Za-z0-9 !$&'()+,\-.:;=@_]*")
_REF_KEY = re.compile(r"refs/(branch|tag)\.([^/]*)/ref\.json(\.deleted)?", re.DOTALL)


def validate_ref_name_v1(name: str) -> None:
    """Refuse names for **new** branches and tags of a spec 1 repository that readers would lose.

    Names outside letters, digits, space and ``!$&'()+,-.:;=@_`` are stored escaped on some storages, where
    Icechunk does not list them and its garbage collection deletes what they point to.

    Raises
    ------
    InvalidInputError
        The name has another character.
    """
    if not _PORTABLE_NAME.fullmatch(name):
        raise InvalidInputError(
            f"invalid ref name {name!r}: in a spec 1 repository use letters, digits, space and "
            "!$&'()+,-.:;=@_ only",
            kind=ErrorKind.INVALID_REF_NAME,
        )


def branch_key(name: str, *, escape: bool = False) -> str:
    """Key of a spec 1 branch pointer.

    Parameters
    ----------
    name
        Branch name.
    escape
        Percent-encode what Icechunk's generic storage layer encodes (local files, GCS, Azure, memory).
        Backends for such storages encode all their keys themselves, so the engine leaves it to them.

    Raises
    ------
    InvalidInputError
        The name contains a slash.

    >>> branch_key("main")
    'refs/branch.main/ref.json'
    """
    return _ref_key("branch", name, escape)


def tag_key(name: str, *, escape: bool = False) -> str:
    """Key of a spec 1 tag pointer; see `branch_key`.

    >>> tag_key("étiquette", escape=True)
    'refs/tag.%C3%A9tiquette/ref.json'
    """
    return _ref_key("tag", name, escape)


def tombstone_key(name: str, *, escape: bool = False) -> str:
    """Key of the marker of a deleted spec 1 tag; see `branch_key`."""
    return _ref_key("tag", name, escape) + ".deleted"


def parse_ref_key(key: str, *, escaped: bool = False) -> tuple[RefKind, str, bool] | None:
    """Kind, name, and whether it is a tombstone, of a key below ``refs/``; None if it is no ref key.

    >>> parse_ref_key("refs/tag.v1/ref.json.deleted")
    ('tag', 'v1', True)
    """
    match = _REF_KEY.fullmatch(key)
    if match is None:
        return None
    kind: RefKind = "branch" if match[1] == "branch" else "tag"
    tombstone = match[3] is not None
    if tombstone and kind == "branch":
        return None
    return kind, _unescape(match[2]) if escaped else match[2], tombstone


def _ref_key(kind: RefKind, name: str, escape: bool) -> str:
    if "/" in name:
        raise InvalidInputError(
            f"invalid ref name {name!r}: in a spec 1 repository it must not contain '/'",
            kind=ErrorKind.INVALID_REF_NAME,
        )
    return f"{REFS_PREFIX}{kind}.{_escape(name) if escape else name}/ref.json"


def _escape(name: str) -> str:
    return _ESCAPED.sub(lambda match: "".join(f"%{byte:02X}" for byte in match[0].encode("utf-8")), name)


def _unescape(name: str) -> str:
    """Undo `_escape`; a name that was never escaped that way is its own name."""
    try:
        return urllib.parse.unquote(name, errors="strict")
    except UnicodeDecodeError:
        return name
