"""Random programs of storage operations, and the dictionary that says what they must do."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import Factory, define, frozen

from icechunk_conformance.chance import Chance
from icechunk_conformance.expect import Failure, collect, read, same
from icechunk_core.contract import (
    ALWAYS,
    IF_ABSENT,
    ByteRange,
    Condition,
    From,
    IfVersion,
    Range,
    Storage,
    Version,
)
from icechunk_core.errors import AlreadyExists, IcechunkError, InvalidRange, NotFound, VersionMismatch

__all__ = ["Program", "run_program"]

_NAMES = ("a", "b", "c/d", "c/e f", "z%20")


@frozen
class _Object:
    data: bytes
    version: Version


@define
class Program:
    """A run of random operations.

    Attributes
    ----------
    place
        Prefix of all keys.
    model
        What must be there.
    stale
        Versions that were replaced.
    told
        The steps until now.
    """

    clients: Sequence[Storage]
    chance: Chance
    place: str
    model: dict[str, _Object] = Factory(dict)
    stale: dict[str, list[Version]] = Factory(dict)
    told: list[str] = Factory(list)
    writes: int = 0

    async def step(self) -> None:
        """One operation, judged."""
        client = self.chance.choice(self.clients)
        key = self.place + self.chance.choice(_NAMES)
        steps = [self._write, self._read, self._part, self._part, self._head, self._delete]
        if client.capabilities.list:
            steps.append(self._list)
        if client.capabilities.create:
            steps.append(self._create)
        if client.capabilities.update:
            steps += [self._update, self._update, self._stale_update]
        if client.capabilities.copy:
            steps.append(self._copy)
        chosen = self.chance.choice(steps)
        self.told.append(f"{chosen.__name__.strip('_')} {key!r} by client {self.clients.index(client)}")
        await chosen(client, key)

    def _body(self) -> bytes:
        """Unique bytes, of sizes from few to many thousand."""
        self.writes += 1
        return b"%d." % self.writes * self.chance.choice([3, 100, 7000])

    def _stored(self, key: str, data: bytes, version: Version) -> None:
        if key in self.model:
            self.stale.setdefault(key, []).append(self.model[key].version)
        self.model[key] = _Object(data, version)

    async def _put(self, client: Storage, key: str, condition: Condition) -> None:
        data = self._body()
        self._stored(key, data, await client.put(key, data, condition))

    async def _write(self, client: Storage, key: str) -> None:
        await self._put(client, key, ALWAYS)

    async def _create(self, client: Storage, key: str) -> None:
        if key not in self.model:
            await self._put(client, key, IF_ABSENT)
        else:
            await self._refused(client, key, IF_ABSENT, AlreadyExists)

    async def _update(self, client: Storage, key: str) -> None:
        if key in self.model:
            await self._put(client, key, IfVersion(self.model[key].version))
        else:
            await self._refused(client, key, IfVersion(Version("none")), VersionMismatch)

    async def _stale_update(self, client: Storage, key: str) -> None:
        for version in self.stale.get(key, [])[-1:]:
            await self._refused(client, key, IfVersion(version), VersionMismatch)

    async def _refused(
        self, client: Storage, key: str, condition: Condition, error: type[IcechunkError]
    ) -> None:
        try:
            await client.put(key, self._body(), condition)
        except error:
            return
        raise Failure(f"a put that must raise {error.__name__} succeeded")

    async def _read(self, client: Storage, key: str) -> None:
        try:
            data, info = await client.get_range(key)
        except NotFound:
            same(None, self.model.get(key), "object that reading did not find")
            return
        there = self.model.get(key)
        same((bytes(data), info.version), there and (there.data, there.version), "bytes and version read")

    async def _part(self, client: Storage, key: str) -> None:
        start = self.chance.below(50)
        wanted: ByteRange = Range(start, start + 1 + self.chance.below(20_000))
        if self.chance.uniform() < 0.5:
            wanted = From(start)
        there = self.model.get(key)
        try:
            data = await read(client, key, wanted)
        except NotFound:
            same(None, there, "object that reading a range did not find")
        except InvalidRange:
            same(
                there is not None and start >= len(there.data),
                True,
                "range refused, and it starts past the end",
            )
        else:
            end = wanted.end if isinstance(wanted, Range) else None
            same(data, there and there.data[start:end], "bytes of a range")

    async def _head(self, client: Storage, key: str) -> None:
        there = self.model.get(key)
        try:
            info = await client.head(key)
        except NotFound:
            same(None, there, "object that head did not find")
        else:
            same(
                (info.size, info.version),
                there and (len(there.data), there.version),
                "size and version of head",
            )

    async def _delete(self, client: Storage, key: str) -> None:
        (result,) = await client.delete([key])
        same(result.error, None, "error of a delete")
        gone = self.model.pop(key, None)
        if gone is not None:
            self.stale.setdefault(key, []).append(gone.version)

    async def _list(self, client: Storage, key: str) -> None:
        prefix = self.place + self.chance.choice(["", "c", "c/", "z"])
        listed = {info.key: info.size for info in await collect(client.list(prefix))}
        expected = {each: len(it.data) for each, it in self.model.items() if each.startswith(prefix)}
        same(listed, expected, "keys and sizes listed")

    async def _copy(self, client: Storage, key: str) -> None:
        target = self.place + self.chance.choice(_NAMES)
        if target == key:
            return
        there = self.model.get(key)
        try:
            version = await client.copy(key, target)
        except NotFound:
            same(None, there, "object that copy did not find")
        else:
            self._stored(target, there.data if there else b"", version)


async def run_program(clients: Sequence[Storage], chance: Chance, place: str, *, steps: int) -> None:
    """Run a program of random operations.

    Raises
    ------
    Failure
        With the seed and the last steps, if a result is not the model's.
    """
    program = Program(clients, chance, place)
    if not clients[0].capabilities.unique_versions:
        # Hashes of the content: bodies are unique, but a copy has its source's version.
        program.stale = _Forgetful()
    for number in range(1, steps + 1):
        try:
            await program.step()
        except (Failure, IcechunkError) as error:
            last = "; ".join(program.told[-8:])
            raise Failure(
                f"step {number} of the program with seed {chance.seed}: {error} (the last steps: {last})"
            ) from error


class _Forgetful(dict[str, list[Version]]):
    def setdefault(self, key: str, default: list[Version] | None = None) -> list[Version]:
        return []
