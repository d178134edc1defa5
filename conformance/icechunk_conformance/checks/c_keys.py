"""Group C: which keys a storage holds, and that it keeps them apart."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from icechunk_conformance.expect import Failure, collect, keys_of, read, refused, same, state, verify
from icechunk_conformance.registry import check
from icechunk_conformance.target import Target
from icechunk_core.contract import Storage
from icechunk_core.contract.errors import InvalidKey, NotFound
from icechunk_core.errors import StorageError


async def _held_or_refused(client: Storage, keys: Sequence[str]) -> list[str]:
    """Write a body of its own under each key; the keys that were not refused, all of which must hold."""
    held: list[str] = []
    for key in keys:
        try:
            await client.put(key, b"under " + ascii(key).encode())
        except InvalidKey:
            continue
        except Exception as error:
            raise Failure(
                f"put of key {key!r} must succeed or raise InvalidKey; "
                f"it raised {type(error).__name__}: {error}"
            ) from error
        held.append(key)
    for key in held:
        same(await read(client, key), b"under " + ascii(key).encode(), f"bytes under key {key!r}")
        same((await client.head(key)).key, key, "key reported by head")
    for key in set(keys) - set(held):
        # Reads of a refused key find nothing: neither another key's object nor half a write.
        await refused(client.get_range(key), InvalidKey, NotFound, what=f"get of the refused key {key!r}")
    if client.capabilities.list:
        same(sorted(await keys_of(client)), sorted(held), "keys listed after writing")
    return held


@check("C01", "The repository's own keys are held", reading=True)
async def repository_keys(target: Target) -> None:
    """Every kind of key that a repository uses is held: ids in capitals and digits, dots, hyphens,
    nested folders, percent-encoded branch names of spec 1."""
    client = await target.client()
    keys = [
        "repo",
        "config.yaml",
        "snapshots/1CECHNKREP0F1RSTCMT0",
        "chunks/0G3K1PHWX7AZQ5CV4M2R",
        "manifests/ZYXWVTSRQPNMKJHGFEDC",
        "transactions/1CECHNKREP0F1RSTCMT0",
        "overwritten/repo.1763898312000000.0G3K1PHWX7AZQ5CV4M2R",
        "refs/branch.main/ref.json",
        "refs/tag.v1.0-rc_1/ref.json.deleted",
        "refs/branch.feature%2Fx%20y/ref.json",
    ]
    same(await _held_or_refused(client, keys), keys, "keys that were held")


@check("C02", "Unicode keys are held exactly, or refused", reading=True)
async def unicode_keys(target: Target) -> None:
    """Keys in other scripts, with emoji and beyond the basic plane come back exactly as written
    from get, head and list, or are refused with `InvalidKey` and write nothing."""
    client = await target.client()
    await _held_or_refused(client, ["größe", "данные/ряд", "データ/配列", "🌍/🌡", "𝔷arr", "mixed/é/𐍈"])


@check(
    "C03",
    "Composed and decomposed letters are different keys",
    known_failure="macOS file systems treat é and e + accent as one name: the second write wins.",
    reading=True,
)
async def normalisation(target: Target) -> None:
    """Keys that look alike but differ in Unicode normalisation (NFC, NFD, compatibility forms) never
    share an object: each holds its own bytes, or is refused."""
    client = await target.client()
    composed = unicodedata.normalize("NFC", "caf\u00e9/A\u030a")
    decomposed = unicodedata.normalize("NFD", composed)
    await _held_or_refused(
        client, [composed, decomposed, "\ufb01le", "file", "\u00df", "ss", "\u212b", "\u00c5"]
    )


@check(
    "C04",
    "Percent signs and URL characters are plain characters",
    known_failure="Clients that decode or encode a key once too often store a%2Fb under a/b.",
    reading=True,
)
async def url_characters(target: Target) -> None:
    """``%2F``, ``%41``, ``+``, ``?``, ``#``, ``&`` and ``=`` in a key mean themselves: ``a%2Fb`` and
    ``a+b`` never share an object with ``a/b`` and ``a b``. Each is held or refused."""
    client = await target.client()
    keys = [
        "u/a%2Fb",
        "u/a/b",
        "u/%41",
        "u/A",
        "u/a+c",
        "u/a c",
        "u/a%20c",
        "u/100%",
        "u/%",
        "u/%zz",
        "u/%25",
    ]
    await _held_or_refused(
        client, [*keys, "q?x=1&y=2", "q", "h#fragment", "h", "semi;colon", "at@sign", "(b)[c]{d}"]
    )


@check("C05", "Spaces are kept", reading=True)
async def spaces(target: Target) -> None:
    """Spaces inside, before and after a segment, and dots at its end, are part of the key: held exactly,
    or refused, never trimmed."""
    client = await target.client()
    await _held_or_refused(
        client, ["a b", "ab", " ab", "ab ", "x /y", "x/ y", "x/y", "d.", "d", "d .", "e/..f", "e/f.."]
    )


@check(
    "C06",
    "Keys that are no keys are refused",
    known_failure="Path traversal: stores that join keys to a directory and let '..' leave it.",
    reading=True,
)
async def invalid_keys(target: Target) -> None:
    """The empty key, absolute keys, keys with empty, ``.`` or ``..`` segments and keys with a trailing
    slash raise `InvalidKey` from put, get, head and delete, and write nothing, inside or outside of the
    location."""
    client = await target.client()
    await client.put("inside/object", b"x")
    wrong = ["", "/absolute", "inside//object", "inside/", "inside/./object", "./inside/object", "inside/.."]
    wrong += ["inside/../inside/object", "inside/../../escaped", "../escaped", ".", ".."]
    for key in wrong:
        await refused(client.put(key, b"y"), InvalidKey, what=f"put of key {key!r}")
        await refused(client.get_range(key), InvalidKey, what=f"get of key {key!r}")
        await refused(client.head(key), InvalidKey, what=f"head of key {key!r}")
        await _delete_refused(client, key)
    same(await read(client, "inside/object"), b"x", "an object after refused writes near it")
    if target.capabilities.list:
        same(await keys_of(client), ["inside/object"], "keys listed after refused writes")
    # Reading is harmless even where it escapes, so the bare location is asked as well.
    raw = target.location.raw()
    for key in ("/etc/hostname", "../etc/hostname", "", "/"):
        await refused(raw.get_range(key), InvalidKey, what=f"get of key {key!r}")
    await raw.close()


async def _delete_refused(client: Storage, key: str) -> None:
    try:
        results = await client.delete([key])
    except InvalidKey:
        return
    except StorageError as error:
        raise Failure(f"delete of key {key!r} raised {type(error).__name__}: {error}") from error
    verify(
        len(results) == 1 and isinstance(results[0].error, InvalidKey),
        f"delete of key {key!r} neither raised InvalidKey nor reported it as the key's result",
    )


@check("C07", "Special characters are held exactly, or refused", reading=True)
async def special_characters(target: Target) -> None:
    """Backslash, colon, quotes, stars, newline, control characters, NUL, lone surrogates and names that are
    devices on Windows are held exactly or refused with `InvalidKey`, never another error or another key."""
    client = await target.client()
    keys = [
        "w/back\\slash",
        "w/back/slash",
        "w/C:",
        'w/"quoted"',
        "w/'single'",
        "w/star*",
        "w/a|b",
        "w/<a>",
        "w/~",
        "w/^",
    ]
    keys += [
        "n/new\nline",
        "n/tab\t",
        "n/\x01",
        "n/\x7f",
        "n/nul\0",
        "n/nul",
        "n/\udc80",
        "w/CON",
        "w/aux.txt",
        "w/$HOME",
    ]
    await _held_or_refused(client, keys)


@check("C08", "Long keys are held exactly, or refused", reading=True)
async def long_keys(target: Target) -> None:
    """Segments of 200 characters and keys of 600 are held. Longer ones are held exactly or refused with
    `InvalidKey`, never shortened."""
    client = await target.client()
    must = ["s" * 200, "/".join(["folder" + "x" * 54] * 9), "s" * 199 + "t"]
    same(await _held_or_refused(client, must), must, "long keys that were held")
    for key in must:
        await client.delete([key])
    await _held_or_refused(
        client, ["t" * 255, "t" * 256, "t" * 256 + "u", "t" * 900, "v/" * 700 + "v", "é" * 400]
    )


@check(
    "C09",
    "A key may be the beginning of another",
    requires=("flat",),
    known_failure="fake-gcs-server on its file backend cannot hold 'a' and 'a/b' together.",
    reading=True,
)
async def prefix_of_another(target: Target) -> None:
    """In a flat key space ``a``, ``a/b``, ``a/b/c`` and ``ab`` are four objects, whichever is written first.
    Deleting one leaves the others."""
    client = await target.client()
    keys = ["a", "a/b", "a/b/c", "ab", "z/y/x", "z/y", "z"]
    same(await _held_or_refused(client, keys), keys, "keys that were held")
    await client.delete(["a/b", "z"])
    for key in ("a", "a/b/c", "ab", "z/y/x", "z/y"):
        verify(await state(client, key) is not None, f"{key!r} is gone after others were deleted")


@check("C10", "In a tree, a folder is no object", requires=("!flat",), reading=True)
async def tree_keys(target: Target) -> None:
    """In a tree key space, ``a/b`` beside an object ``a``, and ``a`` beside an object ``a/b``, are
    refused with `InvalidKey` and change nothing. When the one in the way is deleted, the other can be
    written."""
    client = await target.client()
    await client.put("a", b"object")
    await refused(client.put("a/b", b"below"), InvalidKey, what="put of a/b below an object a")
    same(await read(client, "a"), b"object", "the object a after a refused put below it")
    await client.put("c/d", b"below")
    await refused(client.put("c", b"object"), InvalidKey, what="put of c where c/d is an object")
    same(await read(client, "c/d"), b"below", "the object c/d after a refused put of c")
    await client.delete(["a", "c/d"])
    await client.put("a/b", b"below")
    await client.put("c", b"object")
    same(await read(client, "a/b"), b"below", "a/b after a was deleted")
    same(await read(client, "c"), b"object", "c after c/d was deleted")


@check("C11", "A folder is not an object, an object not a folder", reading=True)
async def folders_are_not_objects(target: Target) -> None:
    """Where only ``a/b`` was written, ``a`` is `NotFound` for get and head, and deleting ``a`` succeeds
    and leaves ``a/b``. Where only ``x`` was written, ``x/y`` is `NotFound`, and deleting it leaves ``x``."""
    client = await target.client()
    await client.put("a/b", b"1")
    await client.put("x", b"2")
    for key in ("a", "x/y"):
        await refused(client.get_range(key), NotFound, what=f"get of {key!r}")
        await refused(client.head(key), NotFound, what=f"head of {key!r}")
        results = await client.delete([key])
        same([result.error for result in results], [None], f"result of deleting {key!r}, which is no object")
    same(await read(client, "a/b"), b"1", "a/b after deleting a")
    same(await read(client, "x"), b"2", "x after deleting x/y")


@check(
    "C12",
    "Capital and small letters are different keys",
    known_failure="macOS and Windows file systems ignore case: the second write overwrites the first.",
    reading=True,
)
async def letter_case(target: Target) -> None:
    """Keys that differ in case only never share an object: each holds its own bytes, or is refused."""
    client = await target.client()
    await _held_or_refused(client, ["Case/Key", "case/key", "CASE/KEY", "Case/key"])


@check("C13", "Names that look like bookkeeping are ordinary, or refused", reading=True)
async def bookkeeping_names(target: Target) -> None:
    """Hidden names and names of lock and temporary files are held like any other, listed if held, or refused
    with `InvalidKey`; writing them does not disturb the storage's own bookkeeping."""
    client = await target.client()
    names = [
        ".hidden",
        "object.tmp",
        "object.lock",
        "lock",
        ".lock",
        "object~",
        "tmp/object",
        ".tmp/object",
        "object.json",
    ]
    names += [".icechunk/object", ".DS_Store", "_object", "-", "index.html"]
    held = await _held_or_refused(client, ["object", *names, "second"])
    verify("object" in held and "second" in held, "an ordinary key was refused")
    await client.put("object", b"2")
    await client.delete(["object.lock", "object.tmp"])
    same(await read(client, "object"), b"2", "an object after its would-be bookkeeping was deleted")
    if target.capabilities.list:
        infos = await collect(client.list("object"))
        listed = sorted(info.key for info in infos)
        expected = sorted(set(held) & {"object~", "object.json"} | {"object"})
        same(listed, expected, "keys listed that begin with 'object'")
