"""Group A: put, get, head, delete, close."""

from __future__ import annotations

from datetime import timedelta

from icechunk_conformance.expect import Failure, collect, read, refused, same, state, verify
from icechunk_conformance.registry import check
from icechunk_conformance.target import Target
from icechunk_core.clock import SystemClock, datetime_from_us
from icechunk_core.contract import ALWAYS, IF_ABSENT
from icechunk_core.contract.errors import Closed, NotFound, ReadOnly, Unsupported
from icechunk_core.errors import StorageError

PATTERN = bytes(range(251))
"""Repeats at a prime length, so that shifted or swapped blocks do not look alike."""


def large_body(size: int) -> bytes:
    """Bytes in which every 251-byte block differs from its neighbours' alignment."""
    return (PATTERN * (size // len(PATTERN) + 1))[:size]


@check("A01", "What was put is what is read", reading=True)
async def put_then_get(target: Target) -> None:
    """After a put, ``get_range`` of the whole object returns exactly its bytes, and an
    `ObjectInfo` with its key and size."""
    client = await target.client()
    await client.put("a/object", b"hello \x00\xff world")
    data, info = await client.get_range("a/object")
    same(bytes(data), b"hello \x00\xff world", "bytes read back")
    same(info.key, "a/object", "key in ObjectInfo")
    same(info.size, 14, "size in ObjectInfo")


@check("A02", "head agrees with get", reading=True)
async def head_agrees(target: Target) -> None:
    """``head`` and ``get_range`` report the same key, size and version, and that version is
    the one that the put returned."""
    client = await target.client()
    version = await client.put("object", b"0123456789")
    _, info = await client.get_range("object")
    head = await client.head("object")
    same(head.key, "object", "key of head")
    same(head.size, 10, "size of head")
    same(info.size, 10, "size of get")
    same(info.version, version, "version of get, against the one that put returned")
    same(head.version, version, "version of head, against the one that put returned")


@check("A03", "A missing object is NotFound", reading=True)
async def missing_is_not_found(target: Target) -> None:
    """``get_range`` and ``head`` of a key that was never written raise `NotFound`, not an
    empty object and not another error."""
    client = await target.client()
    await client.put("there", b"x")
    await refused(client.get_range("missing"), NotFound, what="get of a missing key")
    await refused(client.head("missing"), NotFound, what="head of a missing key")
    await refused(client.get_range("no/such/folder"), NotFound, what="get in a missing folder")


@check("A04", "Overwriting replaces the whole object")
async def overwrite_replaces(target: Target) -> None:
    """A second put replaces the first completely, also when it is shorter: nothing of the
    old object's bytes or size remains."""
    client = await target.client()
    await client.put("object", b"a long first body, to be replaced")
    await client.put("object", b"short")
    same(await read(client, "object"), b"short", "bytes after overwriting")
    same((await client.head("object")).size, 5, "size after overwriting")


@check("A05", "Empty objects exist", reading=True)
async def empty_object(target: Target) -> None:
    """An object of zero bytes can be written, is found by ``head`` with size 0 and reads as
    zero bytes."""
    client = await target.client()
    await client.put("empty", b"")
    data, info = await client.get_range("empty")
    same(bytes(data), b"", "bytes of an empty object")
    same(info.size, 0, "size of an empty object")
    same((await client.head("empty")).size, 0, "size of an empty object by head")


@check(
    "A06",
    "Large objects come back whole",
    known_failure="Uploads above a server's part size take another path (multi-part), with other bugs.",
    reading=True,
)
async def large_object(target: Target) -> None:
    """An object of several megabytes (more with a larger budget) reads back byte for byte."""
    client = await target.client()
    body = large_body(target.large_object)
    await client.put("large", body)
    same(await read(client, "large"), body, "bytes of a large object")
    same((await client.head("large")).size, len(body), "size of a large object")


@check("A07", "Several buffers become one object")
async def several_buffers(target: Target) -> None:
    """A put of several buffers stores their concatenation, empty ones and none at all included."""
    client = await target.client()
    await client.put("joined", [b"one ", b"", b"two ", memoryview(b"three")])
    same(await read(client, "joined"), b"one two three", "bytes put as four buffers")
    await client.put("nothing", [])
    same(await read(client, "nothing"), b"", "bytes put as no buffers")


@check("A08", "bytearray and memoryview are accepted and not kept")
async def buffers_are_copied(target: Target) -> None:
    """A put takes any bytes-like buffer, contiguous slices of others included. What the
    caller does to the buffer after the put has returned does not change the object."""
    client = await target.client()
    scratch = bytearray(b"before!")
    await client.put("bytearray", scratch)
    await client.put("view", memoryview(scratch)[2:5])
    await client.put("two", [scratch, memoryview(scratch)[:2]])
    scratch[:] = b"changed"
    same(await read(client, "bytearray"), b"before!", "bytes put as bytearray, which was reused")
    same(await read(client, "view"), b"for", "bytes put as memoryview, whose buffer was reused")
    same(await read(client, "two"), b"before!be", "bytes put as two buffers, which were reused")


@check("A09", "User metadata is kept", requires=("metadata",))
async def metadata_is_kept(target: Target) -> None:
    """Metadata given to ``put`` is returned by ``head`` and by ``get_range``. The next put
    replaces it: a put without metadata leaves none.

    The engine marks each conditional write with an id in metadata, by which it recognises
    its own write when an answer is lost."""
    client = await target.client()
    given = {"icechunkwriteid": "0d9f42f0-5b0c-4d2c-9d0a-2f7a4c5b6d7e", "purpose": "check A09"}
    await client.put("object", b"x", metadata=given)
    same(dict((await client.head("object")).metadata), given, "metadata of head")
    _, info = await client.get_range("object")
    same(dict(info.metadata), given, "metadata of get")
    await client.put("object", b"y", metadata={"purpose": "other"})
    same(dict((await client.head("object")).metadata), {"purpose": "other"}, "metadata after overwriting")
    await client.put("object", b"z")
    same(dict((await client.head("object")).metadata), {}, "metadata after a put without any")


@check("A10", "Metadata that cannot be kept is refused", requires=("!metadata",))
async def metadata_is_refused(target: Target) -> None:
    """A storage that does not declare ``metadata`` raises `Unsupported` for a put with
    metadata and writes nothing; it does not drop it silently."""
    client = await target.client()
    await refused(client.put("object", b"x", metadata={"a": "b"}), Unsupported, what="put with metadata")
    verify(await state(client, "object") is None, "the refused put wrote an object")
    await client.put("object", b"x", metadata={})
    same(await read(client, "object"), b"x", "bytes put with empty metadata")


@check(
    "A11",
    "Every write has a version of its own",
    requires=("unique_versions",),
    known_failure="S3's ETags are hashes of the content: write A, B, A and the first ETag is current again.",
)
async def versions_are_unique(target: Target) -> None:
    """Writing the bytes A, B and A again gives three different versions, and so does deleting
    and writing A once more. A version that is a hash of the content cannot do that, and
    a compare-and-swap on it overwrites changes that it never saw."""
    client = await target.client()
    versions = [await client.put("object", body) for body in (b"A", b"B", b"A", b"A")]
    await client.delete(["object"])
    versions.append(await client.put("object", b"A"))
    distinct = {version.token for version in versions}
    same(len(distinct), len(versions), "number of different versions of five writes")
    same((await client.head("object")).version, versions[-1], "version of head after the last write")


@check("A12", "Delete removes, repeats, and answers for every key")
async def delete_answers_per_key(target: Target) -> None:
    """``delete`` returns one result per key, in the order given. A missing object counts as
    deleted, so that a repeated delete succeeds. Others keep their objects."""
    client = await target.client()
    for key in ("x", "y", "folder/z", "stays"):
        await client.put(key, b"1")
    keys = ["y", "missing", "x", "folder/z"]
    for attempt in ("first", "repeated"):
        results = await client.delete(keys)
        same([result.key for result in results], keys, f"keys of the {attempt} delete's results")
        same([result.error for result in results], [None] * 4, f"errors of the {attempt} delete")
    for key in keys:
        await refused(client.head(key), NotFound, what=f"head of {key!r}, for which delete reported success,")
        await refused(client.get_range(key), NotFound, what=f"get of the deleted {key!r}")
    same(await read(client, "stays"), b"1", "an object that was not to be deleted")
    same(list(await client.delete([])), [], "results of deleting nothing")


@check(
    "A13",
    "A finished write is seen by everybody",
    known_failure="Amazon S3 was only eventually consistent for overwrites and deletes until December 2020.",
    reading=True,
)
async def read_after_write(target: Target) -> None:
    """When a put or a delete has returned, every other client sees its effect at once: the
    new object, the overwritten bytes and version, the absence."""
    writer, reader = await target.client(), await target.client()
    await refused(reader.head("object"), NotFound, what="head before the first write")
    for number in range(5):
        body = b"body %d" % number
        version = await writer.put("object", body)
        seen = await state(reader, "object")
        verify(seen is not None, "another client does not see a finished put")
        same(seen and seen.data, body, "bytes that another client reads after a finished put")
        same(seen and seen.version, version, "version that another client reads after a finished put")
    await writer.delete(["object"])
    verify(await state(reader, "object") is None, "another client still sees a deleted object")


@check("A14", "A closed client says so", reading=True)
async def closed_client(target: Target) -> None:
    """``close`` can be repeated. Every later operation of that client raises `Closed`."""
    client = await target.client()
    await client.put("object", b"x")
    version = (await client.head("object")).version
    await client.close()
    await client.close()
    await refused(client.get_range("object"), Closed, what="get after close")
    await refused(client.put("object", b"y"), Closed, what="put after close")
    await refused(client.put("new", b"y", IF_ABSENT), Closed, what="conditional put after close")
    await refused(client.head("object"), Closed, what="head after close")
    await refused(client.delete(["object"]), Closed, what="delete after close")
    await refused(collect(client.list()), Closed, what="list after close")
    other = await target.client()
    same((await other.head("object")).version, version, "version seen by another client")


@check("A15", "Closing one client leaves the others open", reading=True)
async def close_is_per_client(target: Target) -> None:
    """Clients are independent: after one is closed, another one, opened before, reads and writes."""
    first, second = await target.client(), await target.client()
    await first.put("object", b"x")
    await first.close()
    same(await read(second, "object"), b"x", "bytes read by the second client after the first was closed")
    await second.put("object", b"y")
    same(await read(second, "object"), b"y", "bytes written by the second client")


@check("A16", "Content types are accepted")
async def content_type(target: Target) -> None:
    """A put with a content type succeeds, whether or not the storage keeps it."""
    client = await target.client()
    await client.put("object", b"{}", ALWAYS, None, "application/json")
    same(await read(client, "object"), b"{}", "bytes put with a content type")


@check("A17", "last_modified is a time, by the storage's clock", reading=True)
async def last_modified(target: Target) -> None:
    """``last_modified`` is timezone-aware, within a day of this machine's clock, the same from
    ``head`` and ``get_range``, and does not go back (by more than a second) when the object is written again.

    Garbage collection decides by it what is too young to be deleted."""
    client = await target.client()
    await client.put("object", b"x")
    head = await client.head("object")
    _, info = await client.get_range("object")
    verify(head.last_modified.utcoffset() is not None, "last_modified has no time zone")
    verify(info.last_modified.utcoffset() is not None, "last_modified of get has no time zone")
    same(info.last_modified, head.last_modified, "last_modified of get, against head")
    distance = abs(datetime_from_us(SystemClock().now_us()) - head.last_modified)
    verify(distance < timedelta(days=1), f"last_modified is {distance} away from this machine's clock")
    await client.put("object", b"y")
    later = (await client.head("object")).last_modified
    verify(
        later >= head.last_modified - timedelta(seconds=1),
        "last_modified went back when the object was written again",
    )


@check("A18", "A copy is the same bytes under another key", requires=("copy",))
async def copies(target: Target) -> None:
    """``copy`` writes the source's bytes under the target key, over what was there, with a
    version of its own; the source stays as it is. A missing source is `NotFound` and
    leaves the target unchanged. Where versions are hashes of the content, the copy has its source's."""
    client = await target.client()
    source = await client.put("source", b"the body")
    await client.put("copy", b"a longer body that was there before")
    version = await client.copy("source", "copy")
    copied = await state(client, "copy")
    same(copied and copied.data, b"the body", "bytes of the copy")
    same(copied and copied.version, version, "version of the copy, against the one returned")
    if target.capabilities.unique_versions:
        verify(version != source, "the copy has its source's version")
    same((await client.head("source")).version, source, "version of the source after the copy")
    await refused(client.copy("missing", "copy"), NotFound, what="copy of a missing object")
    same(await read(client, "copy"), b"the body", "target after a copy that failed")


@check("A19", "A read-only storage refuses every write", requires=("read_only",))
async def read_only(target: Target) -> None:
    """A storage that declares ``read_only`` raises `ReadOnly` for put and delete, and reading
    a missing key is `NotFound`."""
    client = target.scoped(target.location.raw())
    await refused(client.put("object", b"x"), ReadOnly, what="put on a read-only storage")
    await refused(client.head("object"), NotFound, what="head of an object whose put was refused")
    try:
        results = await client.delete(["object"])
    except ReadOnly:
        return
    except StorageError as error:
        raise Failure(f"delete on a read-only storage raised {type(error).__name__}: {error}") from error
    verify(
        all(isinstance(result.error, ReadOnly) for result in results),
        "delete on a read-only storage neither raised ReadOnly nor reported it for each key",
    )
