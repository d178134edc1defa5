"""Group E: conditional put, one caller after the other."""

from __future__ import annotations

from icechunk_conformance.checks.a_basics import large_body
from icechunk_conformance.expect import collect, read, refused, same, state, unchanged, verify
from icechunk_conformance.registry import check
from icechunk_conformance.target import Target
from icechunk_core.contract import IF_ABSENT, IfVersion, Version
from icechunk_core.contract.errors import AlreadyExists, Unsupported, VersionMismatch


@check("E01", "IfAbsent creates", requires=("create",))
async def creates(target: Target) -> None:
    """A put with `IfAbsent` where nothing is writes the object and returns its version, and does so again
    after the object was deleted."""
    client = await target.client()
    for body in (b"first", b"", b"after a delete"):
        version = await client.put("object", body, IF_ABSENT)
        created = await state(client, "object")
        same(created and created.data, body, "bytes of a created object")
        same(created and created.version, version, "version of a created object, against the one returned")
        await client.delete(["object"])


@check(
    "E02",
    "IfAbsent never overwrites",
    requires=("create",),
    known_failure="s3rver, fauxqs and 'rclone serve s3' ignore If-None-Match: the second create overwrites.",
)
async def never_overwrites(target: Target) -> None:
    """A put with `IfAbsent` over an object (an empty one too) raises `AlreadyExists` and leaves its
    bytes, version and metadata as they were; also when another client wrote it."""
    client, other = await target.client(), await target.client()
    await other.put("object", b"the first")
    await client.put("empty", b"")
    for key in ("object", "empty"):
        async with unchanged(client, key, "a create over an object"):
            await refused(
                client.put(key, b"the second", IF_ABSENT), AlreadyExists, what="a create over an object"
            )


@check(
    "E03",
    "IfVersion replaces the version it names",
    requires=("update",),
)
async def updates(target: Target) -> None:
    """A put with `IfVersion` of the current version succeeds, whether that version came from put, get,
    head or, where it is given, a listing; twenty in a row form a chain in which every write has a new
    version."""
    client = await target.client()
    version = await client.put("object", b"0")
    seen = {version.token}
    for number in range(1, 21):
        body = b"%d" % number
        version = await client.put("object", body, IfVersion(version))
        seen.add(version.token)
        same(await read(client, "object"), body, "bytes after an update")
        _, info = await client.get_range("object")
        sources = {"put": version, "head": (await client.head("object")).version, "get": info.version}
        if target.capabilities.list:
            (listed,) = await collect(client.list("object"))
            sources["listing"] = listed.version or version
        name = list(sources)[number % len(sources)]
        same(sources[name], version, f"version from {name}, against the one that put returned")
    same(len(seen), 21, "number of different versions of 21 writes")


@check(
    "E04",
    "IfVersion never overwrites another version",
    requires=("update",),
    known_failure="Servers that ignore If-Match: localbucket, s3rver, gcp-storage-emulator.",
)
async def stale_update(target: Target) -> None:
    """A put with `IfVersion` of a version that was replaced raises `VersionMismatch` and leaves bytes,
    version and metadata as they were; also when another client replaced it."""
    client, other = await target.client(), await target.client()
    old = [await client.put("object", b"1"), await client.put("object", b"2")]
    await other.put("object", b"3", IfVersion(old[1]))
    for version in old:
        async with unchanged(client, "object", "a stale update"):
            await refused(
                client.put("object", b"4", IfVersion(version)), VersionMismatch, what="a stale update"
            )


@check("E05", "IfVersion never creates", requires=("update",))
async def update_of_nothing(target: Target) -> None:
    """A put with `IfVersion` where nothing is raises `VersionMismatch` and creates nothing, both where
    nothing ever was and where the object with that version was deleted."""
    client = await target.client()
    version = await client.put("object", b"x")
    async with unchanged(client, "never", "an update of a missing object"):
        await refused(
            client.put("never", b"y", IfVersion(version)),
            VersionMismatch,
            what="an update of a missing object",
        )
    await client.delete(["object"])
    async with unchanged(client, "object", "an update of a deleted object"):
        await refused(
            client.put("object", b"y", IfVersion(version)),
            VersionMismatch,
            what="an update of a deleted object",
        )


@check(
    "E06",
    "A deleted and recreated object is another one",
    requires=("update", "unique_versions"),
    known_failure="Versions that count from 1 for each object, or hash its content, repeat after recreation.",
)
async def recreated(target: Target) -> None:
    """After an object was deleted and written again, with the same bytes, the version from before is
    refused."""
    client = await target.client()
    before = await client.put("object", b"the same")
    await client.delete(["object"])
    await client.put("object", b"the same")
    async with unchanged(client, "object", "an update with the version from before the delete"):
        await refused(
            client.put("object", b"x", IfVersion(before)),
            VersionMismatch,
            what="an update with the version from before the delete",
        )


@check(
    "E07",
    "A, B, A is not A",
    requires=("update", "unique_versions"),
    known_failure="S3's ETag is a hash of the content: If-Match with the first A's ETag fits the second.",
)
async def aba(target: Target) -> None:
    """After writing A, B and A again, the first A's version is refused: somebody wrote in between."""
    client = await target.client()
    first = await client.put("object", b"A")
    second = await client.put("object", b"B", IfVersion(first))
    await client.put("object", b"A", IfVersion(second))
    async with unchanged(client, "object", "an update with the first A's version"):
        await refused(
            client.put("object", b"C", IfVersion(first)),
            VersionMismatch,
            what="an update with the first A's version",
        )


@check("E08", "Another object's version does not fit", requires=("update",))
async def version_of_another(target: Target) -> None:
    """The version of one object is refused for another, even with the same bytes (where versions
    are not declared to be hashes of the content); so is a made-up one. Neither raises anything
    but `VersionMismatch`."""
    client = await target.client()
    here = await client.put("here", b"same")
    same_bytes = target.capabilities.unique_versions
    there = await client.put("there", b"same" if same_bytes else b"other")
    invented = (
        Version("made-up"),
        Version(""),
        Version("0"),
        Version('"quoted" é\n'),
        Version(here.token + "0"),
    )
    for version in (there, *invented):
        async with unchanged(client, "here", f"an update with {version}"):
            await refused(
                client.put("here", b"x", IfVersion(version)),
                VersionMismatch,
                what=f"an update with {version}",
            )


@check("E09", "A conditional write keeps its metadata", requires=("metadata",))
async def conditional_metadata(target: Target) -> None:
    """Metadata of a conditional put is there as soon as the object is, and that of a refused one is not.
    The engine finds out by it whose write it sees."""
    client = await target.client()
    version = None
    if target.capabilities.create:
        version = await client.put("object", b"1", IF_ABSENT, {"icechunkwriteid": "one"})
        same(
            dict((await client.head("object")).metadata),
            {"icechunkwriteid": "one"},
            "metadata after a create",
        )
        async with unchanged(client, "object", "a refused create with metadata"):
            await refused(
                client.put("object", b"2", IF_ABSENT, {"icechunkwriteid": "two"}),
                AlreadyExists,
                what="a create",
            )
    if target.capabilities.update:
        version = version or await client.put("object", b"1")
        await client.put("object", b"3", IfVersion(version), {"icechunkwriteid": "three"})
        _, info = await client.get_range("object")
        same(dict(info.metadata), {"icechunkwriteid": "three"}, "metadata after an update")
        async with unchanged(client, "object", "a refused update with metadata"):
            await refused(
                client.put("object", b"4", IfVersion(version), {"icechunkwriteid": "four"}),
                VersionMismatch,
                what="a stale update",
            )


@check("E10", "Large objects are conditional too", requires=("create", "update"))
async def large_conditional(target: Target) -> None:
    """Conditions hold for an object of several megabytes as for a small one, given in several buffers: on
    servers it is uploaded in parts, and the condition has to hold when they are put together."""
    client = await target.client()
    body = large_body(target.large_object)
    halves = [body[: len(body) // 2], body[len(body) // 2 :]]
    version = await client.put("large", halves, IF_ABSENT)
    async with unchanged(client, "large", "a create of a large object over another"):
        await refused(client.put("large", [*halves, b"!"], IF_ABSENT), AlreadyExists, what="a large create")
    newer = await client.put("large", [*halves, b"!"], IfVersion(version))
    verify(await read(client, "large") == body + b"!", "a large update did not store its bytes")
    async with unchanged(client, "large", "a stale update of a large object"):
        await refused(
            client.put("large", halves, IfVersion(version)), VersionMismatch, what="a stale large update"
        )
    await client.put("large", b"small", IfVersion(newer))
    same(await read(client, "large"), b"small", "bytes after a small update of a large object")


@check(
    "E11",
    "Creates that the storage does not have are refused",
    requires=("!create",),
    known_failure="Clients that drop the condition for stores without it, and overwrite.",
)
async def create_refused(target: Target) -> None:
    """A storage that does not declare ``create`` raises `Unsupported` for `IfAbsent`, with and without an
    object there, and writes nothing."""
    client = await target.client()
    async with unchanged(client, "absent", "a create"):
        await refused(client.put("absent", b"x", IF_ABSENT), Unsupported, what="a create")
    await client.put("object", b"x")
    async with unchanged(client, "object", "a create over an object"):
        await refused(client.put("object", b"y", IF_ABSENT), Unsupported, what="a create over an object")


@check(
    "E12",
    "Updates that the storage does not have are refused",
    requires=("!update",),
    known_failure="Icechunk's way out for such stores, conditional updates switched off, loses commits.",
)
async def update_refused(target: Target) -> None:
    """A storage that does not declare ``update`` raises `Unsupported` for `IfVersion`, with the current
    version and with another one, and writes nothing."""
    client = await target.client()
    version = await client.put("object", b"x")
    async with unchanged(client, "object", "an update"):
        await refused(client.put("object", b"y", IfVersion(version)), Unsupported, what="an update")
        await refused(
            client.put("object", b"y", IfVersion(Version("other"))), Unsupported, what="a stale update"
        )
    async with unchanged(client, "absent", "an update of nothing"):
        await refused(
            client.put("absent", b"y", IfVersion(version)), Unsupported, what="an update of nothing"
        )
