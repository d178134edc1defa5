"""Mistakes with pickling, fork and secrets."""

from __future__ import annotations

import os
import threading
from typing import Any, ClassVar

from attrs import field, frozen

from icechunk_conformance.broken.gallery import broken
from icechunk_conformance.reference import Place, ReferenceConfig, ReferenceStorage
from icechunk_conformance.reference_shared import SharedConfig, SharedPlace, SharedStorage
from icechunk_core.errors import AlreadyExists, NotFound, StorageConfigError, StorageError


@frozen
class UnpicklableConfig(ReferenceConfig):
    lock: Any = field(factory=threading.Lock, repr=False, eq=False)


@broken("not-picklable", "J01 J02")
class NotPicklable(ReferenceStorage):
    """Has a lock in its configuration."""

    CONFIG: ClassVar[type[ReferenceConfig]] = UnpicklableConfig


@frozen
class ForgetfulConfig(ReferenceConfig):
    def __reduce__(self) -> Any:
        return _forgetful, (self.new_place(), self.secret)


def _forgetful(name: str, secret: str) -> ForgetfulConfig:
    return ForgetfulConfig(name, secret)


@broken("pickles-as-another-place", "J01")
class PicklesAsAnotherPlace(ReferenceStorage):
    """Unpickled it is another, empty storage."""

    CONFIG: ClassVar[type[ReferenceConfig]] = ForgetfulConfig


@frozen
class HomeConfig(SharedConfig):
    home: int = field(factory=os.getpid)

    def place(self) -> Place:
        if self.home != os.getpid():
            raise StorageConfigError("")
        return super().place()


@broken("stays-at-home", "F10 F11 F12 J02 J06 K01 K02")
class StaysAtHome(SharedStorage):
    """Declares atomicity between processes, and opens in its own only."""

    CONFIG: ClassVar[type[ReferenceConfig]] = HomeConfig


@frozen
class SilentConfig(ReferenceConfig):
    def place(self) -> Place:
        try:
            return super().place()
        except StorageConfigError:
            raise StorageConfigError("no") from None


@broken("does-not-say-why", "J02")
class DoesNotSayWhy(ReferenceStorage):
    """Does not say why it does not open in another process."""

    CONFIG: ClassVar[type[ReferenceConfig]] = SilentConfig


@frozen(repr=False)
class TalkativeConfig(ReferenceConfig):
    def __repr__(self) -> str:
        return f"TalkativeConfig({self.name!r}, secret={self.secret!r})"


@broken("secret-in-repr", "J03")
class SecretInRepr(ReferenceStorage):
    """Shows its secret in the repr."""

    CONFIG: ClassVar[type[ReferenceConfig]] = TalkativeConfig


@broken("secret-in-errors", "J04")
class SecretInErrors(ReferenceStorage):
    """Shows the signed request, secret included, when an object is missing."""

    def error(self, kind: type[StorageError], message: str, key: str) -> StorageError:
        if kind is NotFound:
            message += f" (GET /{key}?token={self.config.secret})"
        return super().error(kind, message, key)


class RichError(AlreadyExists):
    """An error that pickle cannot make again."""

    def __init__(self, message: str, status: int, *, key: str) -> None:
        super().__init__(message, key=key)
        self.response = threading.Lock()
        self.status = status


@broken("errors-do-not-pickle", "J05")
class ErrorsDoNotPickle(ReferenceStorage):
    """Keeps the connection in its errors."""

    def error(self, kind: type[StorageError], message: str, key: str) -> StorageError:
        if kind is AlreadyExists:
            return RichError(message, 412, key=key)
        return super().error(kind, message, key)


class LastingLock:
    """A lock that a forked child inherits as it is, held by nobody who could release it."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.lock = threading.RLock()

    def __enter__(self) -> None:
        self.lock.acquire()
        self.inner.__enter__()

    def __exit__(self, *error: Any) -> None:
        self.inner.__exit__(*error)
        self.lock.release()


class LastingPlace(SharedPlace):
    """A shared folder with another lock around the lock."""

    def __init__(self, folder: str) -> None:
        super().__init__(folder)
        self.lock = LastingLock(self.lock)


@frozen
class LastingConfig(SharedConfig):
    PLACE: ClassVar[type[SharedPlace]] = LastingPlace


@broken("lock-survives-fork", "J06")
class LockSurvivesFork(SharedStorage):
    """Declares that it is safe to fork, and has a lock that another thread may hold at that moment."""

    CONFIG: ClassVar[type[ReferenceConfig]] = LastingConfig
