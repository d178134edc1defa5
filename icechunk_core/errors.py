"""The error tree of icechunk-core.

Every error derives from `IcechunkError` and carries

* ``message``: what happened and what to do next; never a secret,
* ``kind``: a stable, machine readable code (the values of `ErrorKind` for
  engine errors, the class's own code for storage errors).

Two families share the tree. *Engine* errors carry the names that Icechunk users
know (`ConflictError`, `NotFoundError`, ...). *Storage* errors are what a storage
backend may raise (`NotFound`, `VersionMismatch`, `Unavailable`, ...); they are
coarse on purpose: each says what the caller should do.

All errors pickle, so that they survive a trip through a process pool.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from icechunk_core.error_kinds import ErrorKind

__all__ = [
    "AlreadyExists",
    "AlreadyExistsError",
    "Closed",
    "ConflictError",
    "Corrupt",
    "ErrorKind",
    "ExecutorError",
    "FormatError",
    "IcechunkError",
    "InternalError",
    "InvalidInputError",
    "InvalidKey",
    "InvalidRange",
    "NodeNotFoundError",
    "NotFound",
    "NotFoundError",
    "OutcomeUnknown",
    "PermissionDenied",
    "PluginError",
    "RateLimited",
    "ReadOnly",
    "ReadOnlyError",
    "RebaseFailedError",
    "RefNotFoundError",
    "RepositoryNotFoundError",
    "SessionStateError",
    "SnapshotNotFoundError",
    "SnapshotObjectNotFound",
    "StorageConfigError",
    "StorageError",
    "StorageFull",
    "Timeout",
    "Unauthenticated",
    "Unavailable",
    "Unsupported",
    "VersionMismatch",
]


def _rebuild(cls: type[IcechunkError], message: str, fields: dict[str, Any]) -> IcechunkError:
    """Recreate an error from its pickled parts without calling ``__init__``."""
    error = cls.__new__(cls, message)
    error.args = (message,)
    error.__dict__.update(fields)
    return error


class IcechunkError(Exception):
    """Base of every error that icechunk-core raises on purpose.

    Parameters
    ----------
    message
        What happened, and what the reader should do next.
    kind
        Stable code; defaults to the class's own.
    """

    default_kind: ClassVar[str] = ErrorKind.UNKNOWN

    message: str
    kind: str

    def __init__(self, message: str = "", *, kind: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.kind = str(kind if kind is not None else self.default_kind)

    def __str__(self) -> str:
        # KeyError, a base of some subclasses, would print the repr.
        return self.message

    def __reduce__(
        self,
    ) -> tuple[Callable[..., IcechunkError], tuple[type[IcechunkError], str, dict[str, Any]]]:
        return _rebuild, (type(self), self.message, dict(self.__dict__))


# --- engine ------------------------------------------------------------------


class ConflictError(IcechunkError):
    """Another writer moved the branch since this session started.

    Rebase the session (`Session.rebase`) and commit again.

    Attributes
    ----------
    expected_parent
        Id of the snapshot the session was based on.
    actual_parent
        Id of the snapshot the branch points to now.
    """

    default_kind: ClassVar[str] = ErrorKind.COMMIT_CONFLICT

    expected_parent: str | None
    actual_parent: str | None

    def __init__(
        self,
        message: str = "",
        *,
        expected_parent: str | None = None,
        actual_parent: str | None = None,
        kind: str | None = None,
    ) -> None:
        super().__init__(message, kind=kind)
        self.expected_parent = expected_parent
        self.actual_parent = actual_parent


class RebaseFailedError(ConflictError):
    """The session's changes clash with a commit made meanwhile.

    Attributes
    ----------
    snapshot
        Id of the commit that could not be passed.
    conflicts
        What clashed, one entry per conflict.
    """

    default_kind: ClassVar[str] = ErrorKind.REBASE_FAILED

    snapshot: str | None
    conflicts: list[Any]

    def __init__(
        self,
        message: str = "",
        *,
        snapshot: str | None = None,
        conflicts: list[Any] | None = None,
        kind: str | None = None,
    ) -> None:
        super().__init__(message, kind=kind)
        self.snapshot = snapshot
        self.conflicts = list(conflicts or [])


class NotFoundError(IcechunkError, KeyError):
    """Something that was asked for does not exist. Also a `KeyError`."""

    default_kind: ClassVar[str] = ErrorKind.KEY_NOT_FOUND


class NodeNotFoundError(NotFoundError):
    """No group, array or chunk at that path."""

    default_kind: ClassVar[str] = ErrorKind.NODE_NOT_FOUND


class SnapshotNotFoundError(NotFoundError):
    """No snapshot with that id, or none at that time."""

    default_kind: ClassVar[str] = ErrorKind.SNAPSHOT_NOT_FOUND


class RefNotFoundError(NotFoundError):
    """No branch or tag of that name."""

    default_kind: ClassVar[str] = ErrorKind.REF_NOT_FOUND


class RepositoryNotFoundError(NotFoundError):
    """No repository at that storage location."""

    default_kind: ClassVar[str] = ErrorKind.REPOSITORY_NOT_FOUND


class AlreadyExistsError(IcechunkError):
    """What was to be created exists (repository, node, branch, tag)."""

    default_kind: ClassVar[str] = ErrorKind.NODE_ALREADY_EXISTS


class ReadOnlyError(IcechunkError, ValueError):
    """A write through a read-only session, store, storage or repository.

    Also a `ValueError`, which is what zarr's own read-only stores raise.
    """

    default_kind: ClassVar[str] = ErrorKind.READ_ONLY_SESSION


class InvalidInputError(IcechunkError, ValueError):
    """An argument, key, index or metadata value is invalid. Also a `ValueError`."""

    default_kind: ClassVar[str] = ErrorKind.INVALID_KEY


class SessionStateError(IcechunkError):
    """The operation is not allowed in the session's or repository's current state."""

    default_kind: ClassVar[str] = ErrorKind.NOT_ALLOWED


class FormatError(IcechunkError):
    """Bytes on storage could not be read, or a value could not be written."""

    default_kind: ClassVar[str] = ErrorKind.DESERIALIZATION


class Corrupt(FormatError):
    """An object on storage is malformed.

    Attributes
    ----------
    object_name
        Which object (its key, or what the caller called it).
    """

    default_kind: ClassVar[str] = ErrorKind.DESERIALIZATION

    object_name: str

    def __init__(self, message: str = "", *, object_name: str = "", kind: str | None = None) -> None:
        text = f"{object_name}: {message}" if object_name else message
        super().__init__(text, kind=kind)
        self.object_name = object_name


class ExecutorError(IcechunkError):
    """The executor that an operation was spread over failed: a worker was lost, or it takes no more work.

    The repository is whole. Run the operation again, with a new executor.
    """

    default_kind: ClassVar[str] = "worker-lost"


class InternalError(IcechunkError):
    """A bug in icechunk-core; please report it with the traceback."""

    default_kind: ClassVar[str] = ErrorKind.UNKNOWN


# --- storage -----------------------------------------------------------------


class StorageError(IcechunkError):
    """A storage backend failed or is misconfigured.

    Attributes
    ----------
    key
        Object key the operation was about, if one.
    retryable
        Whether the same call may succeed later, unchanged.
    """

    default_kind: ClassVar[str] = ErrorKind.STORAGE_OTHER
    retryable: ClassVar[bool] = False

    key: str | None

    def __init__(self, message: str = "", *, key: str | None = None, kind: str | None = None) -> None:
        super().__init__(message, kind=kind)
        self.key = key


class NotFound(StorageError):
    """No object under that key."""

    default_kind: ClassVar[str] = ErrorKind.OBJECT_NOT_FOUND


class SnapshotObjectNotFound(SnapshotNotFoundError, NotFound):
    """The object of a snapshot does not exist; in spec 1 that is what "no such snapshot" looks like."""

    default_kind: ClassVar[str] = ErrorKind.OBJECT_NOT_FOUND


class AlreadyExists(StorageError):
    """A put with `IfAbsent` found an object; nothing was written."""

    default_kind: ClassVar[str] = "object-already-exists"


class VersionMismatch(StorageError):
    """A put with `IfVersion`, or a read with ``if_version``, found another version; nothing was written."""

    default_kind: ClassVar[str] = "version-mismatch"


class OutcomeUnknown(StorageError):
    """A write may or may not have happened. Look before repeating it.

    Raised by a commit when the storage did not answer and what it holds proves
    neither success nor failure. Nothing is cleaned up.

    Attributes
    ----------
    snapshot_id
        In a commit: the snapshot whose publication is in doubt. When it appears
        in the branch's ancestry, the commit succeeded.
    """

    default_kind: ClassVar[str] = "outcome-unknown"

    snapshot_id: str | None = None


class RateLimited(StorageError):
    """The storage asks to slow down. Wait and repeat."""

    default_kind: ClassVar[str] = ErrorKind.THROTTLED
    retryable = True


class Unavailable(StorageError):
    """The storage cannot be reached or failed inside. Repeat later."""

    default_kind: ClassVar[str] = ErrorKind.OBJECT_STORE
    retryable = True


class Timeout(StorageError):
    """No answer in time. A write that timed out may still land."""

    default_kind: ClassVar[str] = "timeout"
    retryable = True


class PermissionDenied(StorageError):
    """The credentials are known but may not do this."""

    default_kind: ClassVar[str] = "permission-denied"


class Unauthenticated(StorageError):
    """Credentials are missing, wrong or expired."""

    default_kind: ClassVar[str] = "unauthenticated"


class InvalidKey(StorageError):
    """The backend cannot hold an object under that key."""

    default_kind: ClassVar[str] = "invalid-object-key"


class InvalidRange(StorageError):
    """A byte range starts past the object's end, or is empty or negative."""

    default_kind: ClassVar[str] = ErrorKind.INVALID_BYTE_RANGE


class Unsupported(StorageError):
    """The backend does not have that capability; nothing was done."""

    default_kind: ClassVar[str] = "unsupported"


class ReadOnly(StorageError):
    """The storage was opened read-only."""

    default_kind: ClassVar[str] = ErrorKind.READ_ONLY_STORAGE


class Closed(StorageError):
    """The storage was closed; open it again."""

    default_kind: ClassVar[str] = "closed"


class StorageFull(StorageError):
    """No space or quota left. Free some and repeat; nothing that was acknowledged is lost."""

    default_kind: ClassVar[str] = "storage-full"


class StorageConfigError(StorageError, ValueError):
    """A storage URL or configuration is wrong. Also a `ValueError`."""

    default_kind: ClassVar[str] = ErrorKind.STORAGE_CONFIG


class PluginError(StorageError):
    """A storage plugin is missing, broken, outdated, disabled or in conflict with another."""

    default_kind: ClassVar[str] = "plugin"
