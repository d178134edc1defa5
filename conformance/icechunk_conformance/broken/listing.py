"""Mistakes in listings."""

from __future__ import annotations

from collections.abc import AsyncIterator

from attrs import evolve

from icechunk_conformance.broken.gallery import broken
from icechunk_conformance.reference import REFERENCE, ReferenceStorage
from icechunk_core.contract import ObjectInfo, hookimpl
from icechunk_core.errors import NotFound, Unavailable


@broken("lists-folders", "C01 C02 C03 C04 C05 C06 C07 C08 C12 C13 D01 D02 D03 D04 D09 M02")
class ListsFolders(ReferenceStorage):
    """Lists folders beside the objects in them."""

    def select(self, prefix: str, start_after: str | None) -> list[ObjectInfo]:
        infos = {info.key: info for info in super().select(prefix, start_after)}
        for info in list(infos.values()):
            folder = info.key.rpartition("/")[0]
            if folder.startswith(prefix) and folder > (start_after or ""):
                infos.setdefault(folder, evolve(info, key=folder))
        return [infos[key] for key in sorted(infos)]


@broken("prefix-is-folder", "C13 D02 D12 E03 I05 I08")
class PrefixIsFolder(ReferenceStorage):
    """Takes a prefix for the name of a folder."""

    def select(self, prefix: str, start_after: str | None) -> list[ObjectInfo]:
        folder = prefix.rstrip("/") + "/"
        return [info for info in super().select(prefix, start_after) if info.key.startswith(folder)]


@broken("start-included", "D03 D05")
class StartIncluded(ReferenceStorage):
    """Begins a listing with the key that it should begin after."""

    def select(self, prefix: str, start_after: str | None) -> list[ObjectInfo]:
        infos = super().select(prefix, None)
        return [info for info in infos if start_after is None or info.key >= start_after]


@broken("path-order", "D04")
class PathOrder(ReferenceStorage):
    """Sorts segment by segment: ``a/b`` before ``a!``."""

    def select(self, prefix: str, start_after: str | None) -> list[ObjectInfo]:
        return sorted(super().select(prefix, start_after), key=lambda info: info.key.split("/"))


@broken("utf16-order", "D04")
class Utf16Order(ReferenceStorage):
    """Sorts as UTF-16: characters beyond U+FFFF too early."""

    def select(self, prefix: str, start_after: str | None) -> list[ObjectInfo]:
        return sorted(super().select(prefix, start_after), key=lambda info: info.key.encode("utf-16-be"))


@broken("unordered", "D03 D04 D05")
class Unordered(ReferenceStorage):
    """Declares ordered listings, and lists newest first."""

    def select(self, prefix: str, start_after: str | None) -> list[ObjectInfo]:
        return super().select(prefix, start_after)[::-1]


@broken("lost-at-page-border", "D05")
class LostAtPageBorder(ReferenceStorage):
    """Loses the first key of every page of 1,000 but the first."""

    def select(self, prefix: str, start_after: str | None) -> list[ObjectInfo]:
        infos = super().select(prefix, start_after)
        return [info for number, info in enumerate(infos) if number == 0 or number % 1000]


@broken("repeated-at-page-border", "D05")
class RepeatedAtPageBorder(ReferenceStorage):
    """Repeats the last key of every page of 1,000."""

    def select(self, prefix: str, start_after: str | None) -> list[ObjectInfo]:
        listed: list[ObjectInfo] = []
        for number, info in enumerate(super().select(prefix, start_after), 1):
            listed += [info] * (2 if number % 1000 == 0 else 1)
        return listed


@broken("stale-list", "C08 C13 D06 E03 M02 M08")
class StaleList(ReferenceStorage):
    """Each client lists what there was when it first listed."""

    def select(self, prefix: str, start_after: str | None) -> list[ObjectInfo]:
        if "seen" not in self.__dict__:
            self.seen = super().select("", None)
        return [info for info in self.seen if info.key.startswith(prefix) and info.key > (start_after or "")]


@broken("list-without-sizes", "D06 D07")
class ListWithoutSizes(ReferenceStorage):
    """Lists every object with size 0."""

    def select(self, prefix: str, start_after: str | None) -> list[ObjectInfo]:
        return [evolve(info, size=0) for info in super().select(prefix, start_after)]


@broken("list-breaks-on-change", "D08")
class ListBreaksOnChange(ReferenceStorage):
    """Cannot go on listing when something changes meanwhile."""

    @hookimpl
    async def list(self, prefix: str, start_after: str | None) -> AsyncIterator[ObjectInfo]:
        await self.enter()
        writes = repr(self.place._writes)
        for info in self.select(prefix, start_after):
            if repr(self.place._writes) != writes:
                raise RuntimeError("dictionary changed size during iteration")
            yield info


@broken("list-by-position", "D08")
class ListByPosition(ReferenceStorage):
    """Continues a listing by position: deletes meanwhile make it skip objects."""

    @hookimpl
    async def list(self, prefix: str, start_after: str | None) -> AsyncIterator[ObjectInfo]:
        await self.enter()
        position = 0
        while position < len(infos := self.select(prefix, start_after)):
            for info in infos[position : position + 10]:
                yield info
            position += 10


@broken("shows-locks", "D09")
class ShowsLocks(ReferenceStorage):
    """Lists a lock file for every object that was written conditionally."""

    def select(self, prefix: str, start_after: str | None) -> list[ObjectInfo]:
        infos = super().select(prefix, start_after)
        locks = [evolve(info, key=info.key + ".lock") for info in infos if info.key.endswith("/updated")]
        return sorted(infos + locks, key=lambda info: info.key.encode())


@broken("empty-is-missing", "D06 D10 G13 G14 G15 M01 M02 M06 M07 M08")
class EmptyIsMissing(ReferenceStorage):
    """Raises an error for a listing of nothing."""

    def select(self, prefix: str, start_after: str | None) -> list[ObjectInfo]:
        infos = super().select(prefix, start_after)
        if not infos and start_after is None and prefix.endswith("/") and prefix.count("/") > 1:
            raise NotFound("no such folder")
        return infos


@broken("unlisted-is-empty", "D11")
class UnlistedIsEmpty(ReferenceStorage):
    """Cannot list, and yields nothing instead of saying so."""

    CAPABILITIES = evolve(REFERENCE, list=False)

    @hookimpl
    async def list(self, prefix: str, start_after: str | None) -> AsyncIterator[ObjectInfo]:
        await self.enter()
        for info in self.select("\0nothing", None):
            yield info


@broken("one-cursor", "D12")
class OneCursor(ReferenceStorage):
    """A client has one listing at a time: a second one takes the first one's place."""

    @hookimpl
    async def list(self, prefix: str, start_after: str | None) -> AsyncIterator[ObjectInfo]:
        await self.enter()
        self.cursor = iter(self.select(prefix, start_after))
        while True:
            info = next(self.cursor, None)
            if info is None:
                return
            yield info


@broken("listing-stays-open", "I05")
class ListingStaysOpen(ReferenceStorage):
    """Has ten listings, and frees only those that came to their end."""

    @hookimpl
    async def list(self, prefix: str, start_after: str | None) -> AsyncIterator[ObjectInfo]:
        await self.enter()
        self.open = getattr(self, "open", 0) + 1
        if self.open > 10:
            raise Unavailable("too many open listings")
        for info in self.select(prefix, start_after):
            yield info
        self.open -= 1
