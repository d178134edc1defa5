"""Values that cross the storage contract."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import TypeAlias

from attrs import field, frozen

from icechunk_core.errors import IcechunkError, InvalidRange

__all__ = [
    "ALWAYS",
    "IF_ABSENT",
    "Always",
    "AtomicityScope",
    "Buffer",
    "ByteRange",
    "Capabilities",
    "Condition",
    "DeleteResult",
    "EndTurn",
    "From",
    "IfAbsent",
    "IfVersion",
    "KeySpace",
    "ObjectInfo",
    "Range",
    "Suffix",
    "Version",
    "as_one",
    "joined",
    "pieces",
    "resolve_range",
]

Buffer: TypeAlias = bytes | bytearray | memoryview
"""What holds bytes."""
EndTurn: TypeAlias = Callable[[], None]
"""Ends a turn (`OperationHooks.take_turn`)."""


def joined(buffers: Sequence[Buffer]) -> bytes:
    """The buffers of one ``put`` as one byte string, without a copy where there is only one.

    >>> joined([b"ab", memoryview(b"cd")])
    b'abcd'
    """
    if len(buffers) == 1:
        only = buffers[0]
        return only if isinstance(only, bytes) else bytes(only)
    return b"".join(buffers)


def as_one(buffers: Sequence[Buffer]) -> Buffer:
    """The buffers of one ``put`` as one whose length is its bytes, viewed where there is only one.

    >>> as_one([b"ab", b"cd"]), len(as_one([memoryview(b"abcdefgh").cast("I")]))
    (b'abcd', 8)
    """
    if len(buffers) == 1:
        only = buffers[0]
        if isinstance(only, bytes | bytearray):
            return only
        if only.c_contiguous:
            return only.cast("B")
    return joined(buffers)


def pieces(buffers: Sequence[Buffer], size: int) -> Iterator[memoryview]:
    """The bytes of buffers in order, in views of at most ``size`` bytes; nothing is copied.

    What sends a large body in pieces shares the connection and the event loop with others.

    >>> [bytes(piece) for piece in pieces([b"abc", b"d"], 2)]
    [b'ab', b'c', b'd']
    """
    for buffer in buffers:
        view = memoryview(buffer).cast("B")
        for start in range(0, len(view), size):
            yield view[start : start + size]


# --- byte ranges -------------------------------------------------------------


@frozen
class Range:
    """Bytes ``start`` (inclusive) to ``end`` (exclusive); ``end`` is clamped to the object's size."""

    start: int
    end: int


@frozen
class From:
    """All bytes from ``offset`` on."""

    offset: int


@frozen
class Suffix:
    """The last ``length`` bytes, or all of a shorter object."""

    length: int


ByteRange: TypeAlias = Range | From | Suffix | None
"""What part of an object to read; ``None`` is the whole object."""


def resolve_range(byte_range: ByteRange, size: int, *, key: str | None = None) -> tuple[int, int]:
    """Start and end in an object of ``size`` bytes, by the rules that every backend keeps.

    An end past the object is clamped. A suffix longer than the object is the whole object.

    Raises
    ------
    InvalidRange
        If the range is negative or empty, or starts at or past the end (of an object
        that is not read whole).

    >>> resolve_range(Range(2, 100), 10)
    (2, 10)
    >>> resolve_range(Suffix(3), 10)
    (7, 10)
    """
    if byte_range is None:
        return 0, size
    if isinstance(byte_range, Suffix):
        if byte_range.length <= 0:
            raise InvalidRange(f"suffix of {byte_range.length} bytes; ask for at least 1", key=key)
        if size == 0:
            raise InvalidRange("suffix of an empty object; read it whole", key=key)
        return max(0, size - byte_range.length), size
    start = byte_range.start if isinstance(byte_range, Range) else byte_range.offset
    end = byte_range.end if isinstance(byte_range, Range) else size
    if start < 0 or (isinstance(byte_range, Range) and end <= start):
        raise InvalidRange(f"empty or negative byte range {start}..{end}", key=key)
    if start >= size:
        raise InvalidRange(f"byte range starts at {start}, the object has {size} bytes", key=key)
    return start, min(end, size)


# --- versions and conditions -------------------------------------------------


@frozen
class Version:
    """Opaque token of one write of one object.

    Two writes never share a version, not even when they write the same bytes, unless
    the storage declares that it has no `Capabilities.unique_versions`. Only
    the backend that made a token understands it; others compare it for equality.
    """

    token: str


@frozen
class Always:
    """Write unconditionally."""


@frozen
class IfAbsent:
    """Write only if there is no object under the key; else `AlreadyExists`."""


@frozen
class IfVersion:
    """Write only over exactly this version; else `VersionMismatch` (also when there is none)."""

    version: Version


Condition: TypeAlias = Always | IfAbsent | IfVersion
"""On what a put depends."""

ALWAYS = Always()
"""Write whatever is there."""
IF_ABSENT = IfAbsent()
"""Write only where nothing is."""


@frozen
class ObjectInfo:
    """What a storage says about an object.

    Attributes
    ----------
    key
        Key, relative to the storage's root.
    size
        Bytes of the whole object.
    version
        Opaque version; in a listing it may be missing.
    last_modified
        By the storage's clock, aware.
    metadata
        User metadata; empty where the storage has none or a listing does not tell.
    etag
        The server's own ETag without quotes, if it has one (checked by virtual chunk refs).
    """

    key: str
    size: int
    version: Version | None
    last_modified: datetime
    metadata: Mapping[str, str] = field(factory=dict)
    etag: str | None = None


@frozen
class DeleteResult:
    """Outcome of deleting one key; ``error`` is ``None`` if the object is gone."""

    key: str
    error: IcechunkError | None = None


# --- capabilities ------------------------------------------------------------


class AtomicityScope(enum.IntEnum):
    """Between which writers a conditional put is linearizable."""

    NONE = 0
    THREAD = 1
    """Threads and loops of one process, through one storage object or its copies."""
    PROCESS = 2
    """Processes of one host (a local filesystem with working locks)."""
    HOST = 3
    """Hosts that share the storage (a network filesystem with working locks)."""
    GLOBAL = 4
    """Anybody (an object store)."""


class KeySpace(enum.Enum):
    """Which keys can coexist."""

    FLAT = "flat"
    """Any: ``a`` and ``a/b`` are both objects."""
    TREE = "tree"
    """``a`` cannot be an object while ``a/b`` is one."""


@frozen
class Capabilities:
    """What a storage can do. **Declared must hold; undeclared must raise `Unsupported`.**

    Attributes
    ----------
    create, update
        Puts with `IfAbsent`, with `IfVersion`.
    atomicity
        Between whom those are linearizable.
    list, ordered_list
        Listing at all; in order of the keys' UTF-8 bytes.
    metadata
        User metadata is stored and returned by ``head`` and ``get_range``.
    suffix_range
        `Suffix` without knowing the size.
    copy
        Server-side ``copy`` (the core falls back to get and put).
    may_suspend
        Whether coroutines may suspend. ``False`` promises that they never do, which
        lets blocking callers drive them without an event loop.
    durable
        An acknowledged write survives power loss.
    fork_safe
        Usable in a forked child.
    read_only
        Refuses all writes with `ReadOnly`.
    unique_versions
        No two writes ever share a `Version`. ``False`` where versions are hashes of the
        content (S3's ETags): after writing A, B and A the first version is current again. The
        engine copes, since the objects that it compares and swaps never repeat their bytes
        with another meaning.
    key_space
        Which keys can coexist.
    max_object_size
        Largest object in bytes; ``None`` is no limit worth naming.
    """

    create: bool = False
    update: bool = False
    atomicity: AtomicityScope = AtomicityScope.NONE
    list: bool = True
    ordered_list: bool = True
    metadata: bool = False
    suffix_range: bool = True
    copy: bool = False
    may_suspend: bool = True
    durable: bool = False
    fork_safe: bool = False
    read_only: bool = False
    unique_versions: bool = True
    key_space: KeySpace = KeySpace.FLAT
    max_object_size: int | None = None

    @property
    def commit_safe(self) -> bool:
        """Whether concurrent writers on one repository are safe as far as declared."""
        return self.create and self.update and self.atomicity > AtomicityScope.NONE
