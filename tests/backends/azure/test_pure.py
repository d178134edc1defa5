"""Names, metadata, order of listings, signatures: functions without I/O."""

from __future__ import annotations

import asyncio
import base64
import hmac
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icechunk_azure._listing import in_key_order
from icechunk_azure._names import BlobNames, decode_metadata, encode_metadata
from icechunk_azure._signing import Signer
from icechunk_azure._wire import Entry
from icechunk_azure._writing import _divided
from icechunk_core.contract.errors import InvalidKey

NAMES = st.text("abcxyz0123456789-", min_size=1, max_size=12)
VALUES = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20)


@given(st.dictionaries(NAMES, VALUES, max_size=5))
def test_metadata_comes_back(metadata: dict[str, str]) -> None:
    """Whatever metadata the contract allows has legal names, and comes back as it was."""
    sent = encode_metadata(metadata)
    assert all(name.isidentifier() and name.isascii() for name in sent)
    assert all(value == value.strip() and value for value in sent.values())
    assert decode_metadata(sent) == metadata
    assert len(sent) == len(metadata)


@pytest.mark.parametrize(
    "key",
    ["a.", "a./b", "a\\b", "a\x01", "a\x7f", "a\uffff", "a" * 1025, "é" * 1025, "v/" * 300 + "v", "../a"],
)
def test_keys_that_are_refused(key: str) -> None:
    """A key that the service would change, or could not list, is refused."""
    with pytest.raises(InvalidKey):
        BlobNames("pre").name(key)


def test_the_prefix_counts() -> None:
    """The limit of a name's length holds for prefix and key together, in UTF-16 units."""
    assert BlobNames("p").name("a" * 1022) == "p/" + "a" * 1022
    with pytest.raises(InvalidKey):
        BlobNames("p").name("a" * 1023)
    with pytest.raises(InvalidKey):
        BlobNames("p").name("\U0001d537" * 512)
    assert BlobNames("").key("a/b") == "a/b"
    assert BlobNames("a").key("a/b") == "b"


LETTERS = st.sampled_from(["a", "!", "/", "é", "\ud7ff", "\ue000", "\uffee", "\U00010000", "\U0001d537"])


@given(st.sets(st.text(LETTERS, min_size=1, max_size=4), max_size=20), st.integers(1, 7), st.booleans())
def test_listings_are_put_in_order(names: set[str], page: int, utf16: bool) -> None:
    """From pages in the order of UTF-16 units, or of UTF-8 bytes, come all entries in the order of UTF-8."""
    encoding = "utf-16-be" if utf16 else "utf-8"
    served = sorted(names, key=lambda name: name.encode(encoding))
    moment = datetime(2026, 1, 1, tzinfo=UTC)

    async def pages() -> AsyncIterator[Sequence[Entry]]:
        for start in range(0, len(served), page):
            yield [Entry(name, 0, "", moment) for name in served[start : start + page]]

    async def collect() -> list[str]:
        return [entry.name async for entry in in_key_order(pages())]

    assert asyncio.run(collect()) == sorted(names, key=str.encode)


@given(st.lists(st.binary(max_size=30), max_size=8), st.integers(1, 20))
def test_buffers_are_divided(buffers: list[bytes], size: int) -> None:
    """The blocks of an upload are its bytes, in order, each full but the last."""
    blocks = [b"".join(parts) for parts in _divided(buffers, size)]
    assert b"".join(blocks) == b"".join(buffers)
    assert all(len(block) == size for block in blocks[:-1])
    assert len(blocks[-1]) <= size


def test_a_signature() -> None:
    """The string that is signed is the one of the service's documentation, line by line."""
    key = base64.b64encode(b"secret").decode()
    headers = {
        "x-ms-version": "2023-11-03",
        "x-ms-date": "Fri, 26 Jun 2026 23:39:12 GMT",
        "if-none-match": "*",
        "content-type": "text/plain",
        "x-ms-blob-type": "BlockBlob",
    }
    text = (
        "PUT\n\n\n11\n\ntext/plain\n\n\n\n*\n\n\n"
        "x-ms-blob-type:BlockBlob\nx-ms-date:Fri, 26 Jun 2026 23:39:12 GMT\nx-ms-version:2023-11-03\n"
        "/acc/box/a%20b"
    )
    expected = base64.b64encode(hmac.digest(b"secret", text.encode(), "sha256")).decode()
    assert Signer("acc", key).authorization("PUT", "/box/a%20b", headers, 11) == f"SharedKey acc:{expected}"
