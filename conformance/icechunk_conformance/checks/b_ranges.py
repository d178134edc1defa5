"""Group B: byte ranges."""

from __future__ import annotations

from icechunk_conformance.checks.a_basics import large_body
from icechunk_conformance.expect import read, refused, same, verify
from icechunk_conformance.racing import Racer, race
from icechunk_conformance.registry import check
from icechunk_conformance.target import Target
from icechunk_core.contract import ByteRange, From, Range, Storage, Suffix, Version
from icechunk_core.contract.errors import InvalidRange, NotFound, Unsupported, VersionMismatch

BODY = b"0123456789"


async def _client(target: Target) -> Storage:
    client = await target.client()
    await client.put("object", BODY)
    return client


@check("B01", "A range is its bytes: start included, end excluded", reading=True)
async def bounded(target: Target) -> None:
    """``Range(start, end)`` returns exactly the bytes from ``start`` up to and without ``end``:
    at the front, inside, one byte, at the back, the whole object."""
    client = await _client(target)
    for start, end in ((0, 4), (3, 7), (5, 6), (0, 1), (9, 10), (6, 10), (0, 10)):
        got = await read(client, "object", Range(start, end))
        same(got, BODY[start:end], f"bytes {start} to {end}")


@check("B02", "An offset reads to the end", reading=True)
async def offset(target: Target) -> None:
    """``From(offset)`` returns everything from that byte on."""
    client = await _client(target)
    for start in (0, 1, 9):
        same(await read(client, "object", From(start)), BODY[start:], f"bytes from {start} on")


@check("B03", "A suffix is the last bytes", requires=("suffix_range",), reading=True)
async def suffix(target: Target) -> None:
    """``Suffix(n)`` returns the last n bytes; of an object that is shorter, all of it."""
    client = await _client(target)
    for length in (1, 3, 10):
        same(await read(client, "object", Suffix(length)), BODY[-length:], f"the last {length} bytes")
    same(await read(client, "object", Suffix(11)), BODY, "a suffix one byte longer than the object")
    same(await read(client, "object", Suffix(5000)), BODY, "a suffix far longer than the object")


@check(
    "B04",
    "Suffix ranges that the storage does not have are refused",
    requires=("!suffix_range",),
    known_failure="Azure Blob Storage has no suffix ranges: a request for one returns the whole object.",
    reading=True,
)
async def suffix_refused(target: Target) -> None:
    """A storage that does not declare ``suffix_range`` raises `Unsupported` for a `Suffix`,
    and does not return other bytes."""
    client = await _client(target)
    await refused(client.get_range("object", Suffix(3)), Unsupported, what="a suffix range")


@check("B05", "An end past the object is clamped", reading=True)
async def clamped(target: Target) -> None:
    """A range that starts inside the object and ends past it returns what there is: the engine
    reads headers of files whose size it does not know."""
    client = await _client(target)
    for start, end in ((0, 11), (4, 5000), (9, 1 << 40)):
        data, info = await client.get_range("object", Range(start, end))
        same(bytes(data), BODY[start:], f"bytes {start} to {end} of an object of 10")
        same(info.size, 10, "size of the whole object")


@check("B06", "A start past the object is InvalidRange", reading=True)
async def past_the_end(target: Target) -> None:
    """A range or offset that starts at or past the object's end raises `InvalidRange`, not empty
    bytes: the caller's idea of the object is wrong."""
    client = await _client(target)
    for wrong in (Range(10, 11), Range(5000, 6000), From(10), From(11), From(1 << 40)):
        await refused(client.get_range("object", wrong), InvalidRange, what=f"{wrong} of 10 bytes")


@check("B07", "Empty and negative ranges are InvalidRange", reading=True)
async def empty_or_negative(target: Target) -> None:
    """A range with no byte in it, a negative offset and a suffix of nothing raise `InvalidRange`."""
    client = await _client(target)
    wrongs: list[ByteRange] = [Range(3, 3), Range(5, 2), Range(-1, 4), Range(-4, -1), From(-1)]
    if target.capabilities.suffix_range:
        wrongs += [Suffix(0), Suffix(-1)]
    for wrong in wrongs:
        await refused(client.get_range("object", wrong), InvalidRange, what=f"{wrong}")


@check("B08", "An empty object has no ranges", reading=True)
async def empty_object_ranges(target: Target) -> None:
    """An empty object is read whole; every range of it is `InvalidRange`."""
    client = await target.client()
    await client.put("empty", b"")
    same(await read(client, "empty"), b"", "an empty object read whole")
    wrongs: list[ByteRange] = [Range(0, 1), From(0)]
    if target.capabilities.suffix_range:
        wrongs.append(Suffix(1))
    for wrong in wrongs:
        await refused(client.get_range("empty", wrong), InvalidRange, what=f"{wrong} of an empty object")


@check("B09", "A part tells of the whole object", reading=True)
async def info_of_a_part(target: Target) -> None:
    """The `ObjectInfo` of a ranged read has the whole object's size and its version, not the part's."""
    client = await target.client()
    version = await client.put("object", BODY)
    ranges: list[ByteRange] = [Range(2, 5), From(8)]
    if target.capabilities.suffix_range:
        ranges.append(Suffix(2))
    for part in ranges:
        _, info = await client.get_range("object", part)
        same(info.size, 10, f"size of the whole object, from {part}")
        same(info.version, version, f"version, from {part}")
        same(info.key, "object", f"key, from {part}")


@check("B10", "A read can insist on a version", reading=True)
async def insists_on_a_version(target: Target) -> None:
    """With ``if_version`` a read returns that version's bytes or raises `VersionMismatch`; after
    the object was overwritten (even with the same bytes) or deleted, the old version is not served."""
    client = await target.client()
    first = await client.put("object", BODY)
    for part in (None, Range(2, 5)):
        data, _ = await client.get_range("object", part, first)
        same(bytes(data), BODY[2:5] if part else BODY, "bytes read with the current version")
    second = await client.put("object", b"abcdefghij")
    for part in (None, Range(2, 5)):
        await refused(
            client.get_range("object", part, first), VersionMismatch, what="a read of an old version"
        )
    data, _ = await client.get_range("object", None, second)
    same(bytes(data), b"abcdefghij", "bytes read with the new version")
    await client.delete(["object"])
    await refused(
        client.get_range("object", None, second),
        NotFound,
        VersionMismatch,
        what="a read of a deleted object's version",
    )


@check("B11", "Ranges of large objects are exact", reading=True)
async def ranges_of_a_large_object(target: Target) -> None:
    """Ranges around the borders of the blocks that storages are made of (4 KiB, 64 KiB, 1 MiB, the
    middle and the end of a large object) return exactly their bytes."""
    client = await target.client()
    body = large_body(target.large_object)
    await client.put("large", body)
    for border in (4096, 65536, 1 << 20, len(body) // 2, len(body) - 2):
        for start, end in ((border - 1, border + 1), (border, border + 1), (border - 3, border)):
            got = await read(client, "large", Range(start, end))
            same(got, body[start:end], f"bytes {start} to {end} of {len(body)}")
    same(await read(client, "large", Range(1000, 3_000_000)), body[1000:3_000_000], "a range of 3 MB")
    same(await read(client, "large", From(len(body) - 70_000)), body[-70_000:], "the last 70,000 bytes")


@check("B12", "A range of a missing object is NotFound", reading=True)
async def missing_object(target: Target) -> None:
    """Every kind of range of a missing key raises `NotFound`."""
    client = await _client(target)
    ranges: list[ByteRange] = [Range(0, 5), From(3)]
    if target.capabilities.suffix_range:
        ranges.append(Suffix(2))
    for part in ranges:
        await refused(client.get_range("missing", part), NotFound, what=f"{part} of a missing key")


@check(
    "B13",
    "A read never mixes two versions",
    requires=("threads",),
    known_failure="Clients that fetch a large object in several requests without insisting on one version.",
    reading=True,
)
async def one_version_per_read(target: Target) -> None:
    """While other threads overwrite the object with bodies of other contents and sizes, every read
    (whole, range, suffix) returns bytes, size and version of one and the same write."""
    sizes = [30_000 + 7_919 * number for number in range(8)]
    bodies = {bytes([65 + number]): sizes[number] for number in range(8)}
    seed = await target.client()
    await seed.put("object", b"A" * bodies[b"A"])
    versions: dict[Version, bytes] = {}

    async def write(client: Storage, racer: Racer) -> None:
        for turn in range(target.budget.rounds):
            letter = bytes([65 + (turn * 3 + racer.number) % 8])
            await client.put("object", letter * bodies[letter])
            await racer.turn()

    async def look(client: Storage, racer: Racer) -> None:
        parts: list[ByteRange] = [None, Range(10, 29_000), From(20_000)]
        if target.capabilities.suffix_range:
            parts.append(Suffix(25_000))
        for turn in range(target.budget.rounds * 2):
            data, info = await client.get_range("object", parts[turn % len(parts)])
            letters = set(bytes(data))
            same(len(letters), 1, "number of writes whose bytes one read returned")
            letter = bytes(data[:1])
            same(info.size, bodies[letter], "size reported with the bytes of another size's write")
            if info.version is not None:
                known = versions.setdefault(info.version, letter)
                same(letter, known, "bytes of one version, read twice")
            await racer.turn()

    count = max(2, target.budget.threads // 2)
    await race(target, [write] * count + [look] * count)
    last = await seed.head("object")
    verify(last.size in sizes, "the object's size belongs to no write")
