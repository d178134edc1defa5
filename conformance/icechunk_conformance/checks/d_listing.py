"""Group D: listing."""

from __future__ import annotations

from icechunk_conformance.expect import collect, keys_of, put_all, refused, same, verify
from icechunk_conformance.registry import check
from icechunk_conformance.target import Target
from icechunk_core.contract import IF_ABSENT, IfVersion
from icechunk_core.contract.errors import Unsupported
from icechunk_core.errors import StorageError


@check("D01", "A listing has every object, once", requires=("list",), reading=True)
async def lists_everything(target: Target) -> None:
    """Listing without a prefix yields every object exactly once, nested ones included, and no folders."""
    client = await target.client()
    keys = ["one", "folder/two", "folder/sub/three", "folder2/four", "five.x/six"]
    await put_all(client, [(key, b"x") for key in keys])
    same(sorted(await keys_of(client)), sorted(keys), "keys listed")


@check("D02", "A prefix is text, not a folder", requires=("list",), reading=True)
async def prefix_is_text(target: Target) -> None:
    """``list(prefix)`` yields the keys that start with that text: ``ab`` matches ``ab``, ``abc`` and
    ``ab/c``; ``a/`` does not match ``ab``. A prefix that matches nothing yields nothing."""
    client = await target.client()
    keys = ["a", "ab", "abc", "b/c", "b/cd", "b/d/e", "bc/x"]
    await put_all(client, [(key, b"x") for key in keys])
    for prefix in ("a", "ab", "abc", "abcd", "b", "b/", "b/c", "b/d", "b/d/", "b/d/e", "bc", "c", "b/x/y"):
        expected = [key for key in keys if key.startswith(prefix)]
        same(sorted(await keys_of(client, prefix)), expected, f"keys listed with prefix {prefix!r}")


@check("D03", "A listing continues after a key", requires=("ordered_list",), reading=True)
async def continues_after(target: Target) -> None:
    """``start_after`` leaves out that key and everything before it, whether or not it exists, with and
    without a prefix, before the first and after the last key."""
    client = await target.client()
    keys = ["a", "b/1", "b/2", "b/3", "c", "d/x/y"]
    await put_all(client, [(key, b"x") for key in keys])
    for after in (*keys, "0", "b", "b/", "b/2x", "c/zzz", "zzz"):
        expected = [key for key in keys if key > after]
        same(await keys_of(client, "", after), expected, f"keys listed after {after!r}")
        below = [key for key in expected if key.startswith("b/")]
        same(await keys_of(client, "b/", after), below, f"keys listed with prefix 'b/' after {after!r}")


@check(
    "D04",
    "Keys come in the order of their bytes",
    requires=("ordered_list",),
    known_failure="SeaweedFS sorts per path segment ('a/b' before 'a!'); Azurite as UTF-16.",
    reading=True,
)
async def byte_order(target: Target) -> None:
    """A listing is sorted by the keys' UTF-8 bytes: ``a!`` and ``a-b`` come before ``a/b``, ``a0`` after it,
    capitals before small letters, characters beyond U+FFFF last."""
    client = await target.client()
    keys = ["a!", "a-b/c", "a/b", "a/b/c", "a0", "aa", "B", "Z/z", "~", "a b", "é", "ｚ", "𝔷"]
    held = []
    for key in keys:
        if client.capabilities.key_space.value != "flat" and key == "a/b/c":
            continue
        try:
            await client.put(key, b"x")
        except StorageError:
            continue
        held.append(key)
    same(await keys_of(client), sorted(held, key=str.encode), "keys in the order listed")


@check(
    "D05",
    "Listings of many pages are complete",
    requires=("list",),
    known_failure="Listings that lose or repeat the key at a page's border (every 1,000 keys on S3).",
    reading=True,
)
async def many_pages(target: Target) -> None:
    """A listing of more objects than fit one page of a server yields each exactly once; in key order
    where that is declared, and also when it starts after a key in the middle."""
    client = await target.client()
    count = target.budget.listing
    keys = [f"many/{number:06d}" for number in range(count)]
    await put_all(client, [(key, b"") for key in keys])
    listed = await keys_of(client, "many/")
    same(len(listed), count, "number of keys listed")
    if target.capabilities.ordered_list:
        verify(listed == keys, "the keys listed are not the ones written, or not in key order")
        for start in (0, 999, count // 2, count - 2, count - 1):
            rest = await keys_of(client, "many/", keys[start])
            verify(rest == keys[start + 1 :], f"the listing after key number {start} of {count} is wrong")
    else:
        verify(sorted(listed) == keys, "the keys listed are not the ones written")


@check(
    "D06",
    "A listing reflects finished writes and deletes",
    requires=("list",),
    known_failure="Amazon S3 listings were eventually consistent until December 2020.",
    reading=True,
)
async def reflects_writes(target: Target) -> None:
    """A listing that begins after a put or a delete has returned shows its effect, also to other clients and
    to those that have listed before."""
    writer, reader = await target.client(), await target.client()
    same(await keys_of(reader), [], "keys before the first write")
    await writer.put("first", b"1")
    same(await keys_of(reader), ["first"], "keys after a put by another client")
    await writer.put("second", b"22")
    same(sorted(await keys_of(reader)), ["first", "second"], "keys after another put")
    await writer.put("second", b"4444")
    sizes = {info.key: info.size for info in await collect(reader.list())}
    same(sizes, {"first": 1, "second": 4}, "sizes listed after overwriting")
    await writer.delete(["first"])
    same(await keys_of(reader), ["second"], "keys after a delete by another client")
    await writer.delete(["second"])
    same(await keys_of(reader), [], "keys after everything was deleted")


@check("D07", "A listing tells the truth about each object", requires=("list",), reading=True)
async def entries_agree(target: Target) -> None:
    """Sizes, times and, where given, versions in a listing are those that ``head`` reports."""
    client = await target.client()
    await put_all(client, [(f"object/{size}", b"x" * size) for size in (0, 1, 300, 70_000)])
    await client.put("object/1", b"overwritten")
    infos = await collect(client.list("object/"))
    same(len(infos), 4, "number of objects listed")
    for info in infos:
        head = await client.head(info.key)
        same(info.size, head.size, f"size of {info.key} in the listing")
        verify(info.last_modified.utcoffset() is not None, "last_modified in a listing has no time zone")
        same(info.last_modified, head.last_modified, f"last_modified of {info.key} in the listing")
        if info.version is not None:
            same(info.version, head.version, f"version of {info.key} in the listing")


@check("D08", "A listing survives changes meanwhile", requires=("list",), reading=True)
async def changes_meanwhile(target: Target) -> None:
    """Writing and deleting while a listing is under way does not break it: every object that is there all the
    time is listed exactly once; the changed ones may or may not be."""
    client = await target.client()
    steady = [f"m/{number:03d}-steady" for number in range(60)]
    victims = [f"m/{number:03d}-a-victim" for number in range(60)]
    for way in ("deleting", "adding"):
        await put_all(client, [(key, b"s") for key in steady])
        if way == "deleting":
            await put_all(client, [(key, b"v") for key in victims])
        seen: list[str] = []
        async for info in client.list("m/"):
            seen.append(info.key)
            number = len(seen) % 60
            if way == "deleting":
                await client.delete([victims[number], victims[number - 1], victims[59 - number]])
            else:
                await client.put(f"m/{number:03d}-added", b"a")
                await client.put(steady[number], b"rewritten")
        kept = [key for key in seen if key.endswith("-steady")]
        same(sorted(kept), steady, f"objects that were there all the time, as listed while {way} others")
        same(len(set(seen)), len(seen), f"number of different keys, against keys listed while {way} others")


@check("D09", "No bookkeeping shows", requires=("list",), reading=True)
async def no_bookkeeping(target: Target) -> None:
    """After overwrites, conditional puts that won and lost, metadata and deletes, a listing shows the
    objects and nothing else: no lock, temporary or metadata files and no emptied folders."""
    client = await target.client()
    await client.put("kept/object", b"1")
    await client.put("kept/object", b"2")
    await client.put("gone/deep/object", b"1")
    expected = ["kept/object"]
    if target.capabilities.metadata:
        await client.put("kept/with-metadata", b"1", metadata={"a": "b"})
        expected.append("kept/with-metadata")
    if target.capabilities.create:
        await client.put("kept/created", b"1", IF_ABSENT)
        expected.append("kept/created")
        await refused(client.put("kept/created", b"2", IF_ABSENT), StorageError, what="a second create")
    if target.capabilities.update:
        old = await client.put("kept/updated", b"1")
        await client.put("kept/updated", b"2", IfVersion(old))
        expected.append("kept/updated")
        await refused(client.put("kept/updated", b"3", IfVersion(old)), StorageError, what="a stale update")
    await client.delete(["gone/deep/object"])
    same(sorted(await keys_of(client)), sorted(expected), "keys listed")
    same(await keys_of(client, "gone"), [], "keys listed under an emptied folder")


@check("D10", "An empty place lists as empty", requires=("list",), reading=True)
async def empty_place(target: Target) -> None:
    """Listing where nothing was ever written yields nothing and raises nothing, with and without a prefix."""
    client = await target.client()
    same(await keys_of(client), [], "keys in an empty place")
    same(await keys_of(client, "no/such/"), [], "keys under a prefix in an empty place")
    if target.capabilities.ordered_list:
        same(await keys_of(client, "no/such/", "no/such/key"), [], "keys after a key in an empty place")


@check("D11", "Listing that the storage does not have is refused", requires=("!list",), reading=True)
async def listing_refused(target: Target) -> None:
    """A storage that does not declare ``list`` raises `Unsupported`; it does not yield an empty listing."""
    client = await target.client()
    await client.put("object", b"x")
    await refused(collect(client.list()), Unsupported, what="a listing")


@check("D12", "Listings do not disturb each other", requires=("list",), reading=True)
async def interleaved(target: Target) -> None:
    """Two listings of one client, advanced in turns, each yield everything."""
    client = await target.client()
    keys = [f"k{number:02d}" for number in range(20)]
    await put_all(client, [(key, b"x") for key in keys])
    first, second = client.list("k"), client.list("k1")
    seen_first, seen_second = [], []
    async for info in first:
        seen_first.append(info.key)
        other = await anext(second, None)
        if other is not None:
            seen_second.append(other.key)
    same(sorted(seen_first), keys, "keys of the first listing")
    same(sorted(seen_second), keys[10:], "keys of the second listing")
