"""Mistakes in conditional puts, seen by one caller after the other."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Mapping

from attrs import evolve

from icechunk_conformance.broken.gallery import broken
from icechunk_conformance.reference import REFERENCE, ReferenceStorage
from icechunk_core.contract import ALWAYS, Condition, IfAbsent, IfVersion, Version
from icechunk_core.errors import AlreadyExists, NotFound, VersionMismatch


@broken("content-hash", "A11 A18 E06 E07 E08")
class ContentHash(ReferenceStorage):
    """Its versions are hashes of the content."""

    def next_version(self, key: str, data: bytes) -> Version:
        return Version(hashlib.sha256(data).hexdigest())


@broken("counts-per-object", "A11 E06 E08")
class CountsPerObject(ReferenceStorage):
    """Counts the versions of each object from one, again after it was deleted."""

    def next_version(self, key: str, data: bytes) -> Version:
        old = self.place.objects.get(key)
        return Version(str(int(old.info.version.token) + 1 if old and old.info.version else 1))


@broken("version-of-the-put", "A02 A11 A13 A18 B09 B10 E01 E03 F01 F02 F03 F05 F06 F07 I08")
class VersionOfThePut(ReferenceStorage):
    """Put returns another version than head and get."""

    async def write(
        self, key: str, data: bytes, condition: Condition, metadata: Mapping[str, str]
    ) -> Version:
        version = await super().write(key, data, condition, metadata)
        return Version(version.token + ":put")

    def admit(self, key: str, condition: Condition) -> None:
        if isinstance(condition, IfVersion):
            condition = IfVersion(Version(condition.version.token.removesuffix(":put")))
        super().admit(key, condition)


@broken(
    "swallowed-etag",
    "A02 A11 A13 A18 B09 B10 D09 E01 E03 E04 E07 E09 E10 F01 F02 F03 F05 F06 F07 G01 G02 G03 G04 G05 G10 I08",
)
class SwallowedEtag(ReferenceStorage):
    """Does not get the version of a put out of the answer, and returns an empty one."""

    async def write(
        self, key: str, data: bytes, condition: Condition, metadata: Mapping[str, str]
    ) -> Version:
        await super().write(key, data, condition, metadata)
        return Version("")


@broken("create-never-works", "E01")
class CreateNeverWorks(ReferenceStorage):
    """Takes a key that was deleted for one that exists."""

    def admit(self, key: str, condition: Condition) -> None:
        super().admit(key, condition)
        known: set[str] = self.place.__dict__.setdefault("known", set())
        if isinstance(condition, IfAbsent) and key in known:
            raise AlreadyExists("exists", key=key)
        known.add(key)


@broken("create-over-empty", "E02")
class CreateOverEmpty(ReferenceStorage):
    """Creates over an empty object, as if it were not there."""

    def admit(self, key: str, condition: Condition) -> None:
        current = self.place.objects.get(key)
        if isinstance(condition, IfAbsent) and current is not None and not current.data:
            return
        super().admit(key, condition)


@broken("ignores-conditions", "D09 E02 E04 E05 E06 E07 E08 E09 E10 F01 F02 F03 F04 F05 F06 G09 G11")
class IgnoresConditions(ReferenceStorage):
    """Declares conditional puts and ignores the conditions."""

    def admit(self, key: str, condition: Condition) -> None:
        return None


@broken("refused-but-written", "E02 E04 E05 E06 E07 E08 E09 E10 F01 F02 F03 F04 F05 F06 G09 G11")
class RefusedButWritten(ReferenceStorage):
    """Reports a lost condition after it has written."""

    async def write(
        self, key: str, data: bytes, condition: Condition, metadata: Mapping[str, str]
    ) -> Version:
        with self.place.lock:
            try:
                self.admit(key, condition)
            finally:
                version = self.store(key, data, metadata)
        return version


@broken("update-is-existence", "D09 E04 E06 E07 E08 E09 E10 F04 F05 F06 G09 G11")
class UpdateIsExistence(ReferenceStorage):
    """Compares no versions: an update goes through over any object."""

    def admit(self, key: str, condition: Condition) -> None:
        current = self.place.objects.get(key)
        if isinstance(condition, IfVersion) and current is not None:
            return
        super().admit(key, condition)


@broken("update-refuses-listed", "E03")
class UpdateRefusesTwice(ReferenceStorage):
    """Refuses every tenth update of an object for no reason."""

    def admit(self, key: str, condition: Condition) -> None:
        super().admit(key, condition)
        updates = self.place.__dict__.setdefault("updates", itertools.count(1))
        if isinstance(condition, IfVersion) and key.endswith("/object") and next(updates) % 10 == 0:
            raise VersionMismatch("not now", key=key)


@broken("update-creates", "E05")
class UpdateCreates(ReferenceStorage):
    """An update of a missing object creates it."""

    def admit(self, key: str, condition: Condition) -> None:
        if isinstance(condition, IfVersion) and key not in self.place.objects:
            return
        super().admit(key, condition)


@broken("update-of-missing-is-not-found", "E05")
class UpdateOfMissingIsNotFound(ReferenceStorage):
    """Answers an update of a missing object with `NotFound`, as S3 does."""

    def admit(self, key: str, condition: Condition) -> None:
        if isinstance(condition, IfVersion) and key not in self.place.objects:
            raise NotFound("no such key", key=key)
        super().admit(key, condition)


@broken("accepts-any-known-version", "E08")
class AcceptsAnyKnownVersion(ReferenceStorage):
    """Accepts the current version of any object."""

    def admit(self, key: str, condition: Condition) -> None:
        if isinstance(condition, IfVersion) and key in self.place.objects:
            with self.place.lock:
                versions = [entry.info.version for entry in self.place.objects.values()]
            if condition.version in versions:
                return
        super().admit(key, condition)


@broken("parses-versions", "E08 J04 J05")
class ParsesVersions(ReferenceStorage):
    """Fails on a version that is not one of its own."""

    def admit(self, key: str, condition: Condition) -> None:
        if isinstance(condition, IfVersion):
            int(condition.version.token[1:])
        super().admit(key, condition)


@broken("conditional-without-metadata", "E09 G01 G02 G03 G04")
class ConditionalWithoutMetadata(ReferenceStorage):
    """Forgets the metadata of conditional puts."""

    async def write(
        self, key: str, data: bytes, condition: Condition, metadata: Mapping[str, str]
    ) -> Version:
        return await super().write(key, data, condition, metadata if condition == ALWAYS else {})


@broken("large-unconditional", "E10")
class LargeUnconditional(ReferenceStorage):
    """Forgets the condition when it uploads in parts."""

    async def write(
        self, key: str, data: bytes, condition: Condition, metadata: Mapping[str, str]
    ) -> Version:
        return await super().write(key, data, condition if len(data) < (4 << 20) else ALWAYS, metadata)


@broken("silent-without-create", "E11")
class SilentWithoutCreate(ReferenceStorage):
    """Has no conditional create, and overwrites instead of saying so."""

    CAPABILITIES = evolve(REFERENCE, create=False)

    def admit(self, key: str, condition: Condition) -> None:
        super().admit(key, ALWAYS if isinstance(condition, IfAbsent) else condition)


@broken("silent-without-update", "E12")
class SilentWithoutUpdate(ReferenceStorage):
    """Has no conditional update, and overwrites instead of saying so."""

    CAPABILITIES = evolve(REFERENCE, update=False)

    def admit(self, key: str, condition: Condition) -> None:
        super().admit(key, ALWAYS if isinstance(condition, IfVersion) else condition)
