"""The wrapper keeps the contract, hides what is stored, and notices every change of it."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest
from icechunk_encryption._frames import FRAME, HEADER, TAG, encrypted_size, largest_plaintext, plain_size
from icechunk_encryption._keys import new_key

from icechunk_conformance.pytest import StorageConformance
from icechunk_core.contract import IF_ABSENT, From, IfVersion, Range, Storage, Suffix
from icechunk_core.drive import run_direct
from icechunk_core.errors import Corrupt, InvalidRange, PermissionDenied, StorageConfigError, VersionMismatch
from icechunk_core.storage import storage_from_url, with_metrics

KEY = new_key()
VARIABLE = "ICECHUNK_ENCRYPTION_KEY"
SIZES = [0, 1, FRAME - 1, FRAME, FRAME + 1, 3 * FRAME + 100]


@pytest.fixture(autouse=True, scope="module")
def key_in_the_environment() -> Iterator[None]:
    """Every process of these tests has the key."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, KEY)
        yield


class TestConformance(StorageConformance):
    """What the contract promises holds for the encrypted storage."""

    url = "encrypted+memory:"
    secrets = (KEY,)


def pair(name: str) -> tuple[Storage, Storage]:
    """The encrypted storage, and what is stored."""
    return storage_from_url(f"encrypted+memory:{name}"), storage_from_url(f"memory:{name}")


def body(size: int) -> bytes:
    """Bytes in which every place can be told."""
    return (b"".join(number.to_bytes(4, "big") for number in range(size // 4 + 1)))[:size]


@pytest.mark.parametrize("size", SIZES)
def test_sizes_and_ranges(size: int) -> None:
    """Sizes are the plaintext's everywhere, and every part around the borders of frames is exact, whether
    the object was read before or not."""
    storage, stored = pair(f"sizes-{size}")
    data = body(size)
    run_direct(storage.put("object", data))
    assert run_direct(stored.head("object")).size == encrypted_size(size)
    assert run_direct(storage.head("object")).size == size
    borders = sorted({at for edge in (0, FRAME, 2 * FRAME, size) for at in (edge - 1, edge, edge + 1)})
    for start in [each for each in borders if 0 <= each < size]:
        for fresh in (storage_from_url(f"encrypted+memory:sizes-{size}"), storage):
            for end in [each for each in borders if each > start]:
                part, info = run_direct(fresh.get_range("object", Range(start, end)))
                assert (bytes(part), info.size) == (data[start:end], size)
            assert bytes(run_direct(fresh.get_range("object", From(start)))[0]) == data[start:]
            length = size - start
            assert bytes(run_direct(fresh.get_range("object", Suffix(length)))[0]) == data[-length:]
    with pytest.raises(InvalidRange):
        run_direct(storage.get_range("object", Range(size, size + 1)))


def test_the_arithmetic_of_sizes() -> None:
    """Stored sizes and plaintext sizes belong together, one to one."""
    for plain in [*range(50), *range(FRAME - 20, FRAME + 20), *range(5 * FRAME - 3, 5 * FRAME + 3)]:
        assert plain_size(encrypted_size(plain)) == plain
        assert encrypted_size(largest_plaintext(encrypted_size(plain))) == encrypted_size(plain)
    assert plain_size(HEADER + TAG - 1) is None
    assert plain_size(encrypted_size(FRAME) + TAG) is None


def test_a_part_is_read_without_the_rest() -> None:
    """A few bytes of a large object cost one frame, and its header once."""
    inner, metrics = with_metrics(storage_from_url("memory:parts"))
    from icechunk_encryption._keys import read_keys
    from icechunk_encryption._storage import encrypted
    from icechunk_encryption.plugin import EncryptionConfig

    storage = encrypted(inner, read_keys(EncryptionConfig()))
    data = body(1 << 20)
    run_direct(storage.put("pack", data))
    for number, at in enumerate((500_000, 700_000, 900_000)):
        assert bytes(run_direct(storage.get_range("pack", Range(at, at + 100)))[0]) == data[at : at + 100]
        assert metrics.calls["get_range"] == 2 + number
    assert metrics.bytes_read == HEADER + 3 * (FRAME + TAG)


def test_an_object_that_another_client_replaces_is_read_anew() -> None:
    """What is remembered of an object's header never outlives its version, whichever way the size changed."""
    storage, _ = pair("replaced")
    other = storage_from_url("encrypted+memory:replaced")
    for size in (4 * FRAME, 6 * FRAME, 2 * FRAME, 3 * FRAME):
        data = body(size)[::-1]
        run_direct(other.put("object", data))
        assert bytes(run_direct(storage.get_range("object", Range(size - 50, size)))[0]) == data[-50:]


def test_what_is_stored_says_nothing() -> None:
    """Neither the bytes nor two writes of the same bytes can be recognised; versions and metadata are as
    they were."""
    storage, stored = pair("secret")
    first = run_direct(storage.put("object", b"a well known text" * 99, IF_ABSENT, {"who": "me"}))
    one = bytes(run_direct(stored.get_range("object"))[0])
    second = run_direct(storage.put("object", b"a well known text" * 99, IfVersion(first), {"who": "me"}))
    other = bytes(run_direct(stored.get_range("object"))[0])
    assert b"well known" not in one
    assert one[HEADER:] != other[HEADER:]
    assert run_direct(storage.head("object")).metadata == {"who": "me"}
    assert run_direct(storage.head("object")).version == second
    with pytest.raises(VersionMismatch):
        run_direct(storage.put("object", b"", IfVersion(first)))


def _frame(number: int) -> slice:
    return slice(HEADER + number * (FRAME + TAG), HEADER + (number + 1) * (FRAME + TAG))


def _damages(data: bytes, other: bytes) -> dict[str, bytes]:
    first, second, third = data[_frame(0)], data[_frame(1)], data[_frame(2)]
    return {
        "a bit of the data": data[:5000] + bytes([data[5000] ^ 1]) + data[5001:],
        "a bit of the last tag": data[:-1] + bytes([data[-1] ^ 1]),
        "a bit of the length": data[:23] + bytes([data[23] ^ 1]) + data[24:],
        "a bit of the salt": data[:30] + bytes([data[30] ^ 1]) + data[31:],
        "frames swapped": data[:HEADER] + second + first + third + data[_frame(2).stop :],
        "the last frame gone": data[: _frame(2).stop],
        "a frame gone": data[:HEADER] + first + third + data[_frame(2).stop :],
        "cut in a frame": data[:-100],
        "something added": data + b"x",
        "a frame of an older write": other[:HEADER] + data[HEADER:],
        "another object": other,
        "nothing left": b"",
        "not encrypted": b"plain text" * 100,
    }


@pytest.mark.parametrize("damage", list(_damages(b"\0" * 100_000, b"")))
def test_every_change_is_noticed(damage: str) -> None:
    """Whatever is done to the stored bytes: what it touches is `Corrupt`, and nothing else comes out."""
    storage, stored = pair(f"damage-{damage}")
    data = body(3 * FRAME + 100)
    run_direct(storage.put("object", data))
    run_direct(storage.put("other", data))
    bytes_now, others = (bytes(run_direct(stored.get_range(key))[0]) for key in ("object", "other"))
    run_direct(stored.put("object", _damages(bytes_now, others)[damage]))
    for fresh in (storage, storage_from_url(f"encrypted+memory:damage-{damage}")):
        with pytest.raises(Corrupt, match="object"):
            run_direct(fresh.get_range("object"))
        refused = 0
        for start in range(0, len(data), FRAME):
            try:
                part, _ = run_direct(fresh.get_range("object", Range(start, start + FRAME)))
            except Corrupt:
                refused += 1
            else:
                assert bytes(part) == data[start : start + FRAME]
        assert refused


def test_the_wrong_key_is_told_from_damage(tmp_path: Path) -> None:
    """Another key is `PermissionDenied` and names the ids of the keys, not the keys; with the old key
    as a further line, what it encrypted can be read, and new objects have the new key."""
    storage, stored = pair("keys")
    run_direct(storage.put("object", b"old"))
    other, keys = new_key(), tmp_path / "keys"
    with pytest.raises(PermissionDenied, match="add the missing key") as caught:
        run_direct(storage_from_url("encrypted+memory:keys", encrypted={"key": other}).get_range("object"))
    assert other not in str(caught.value)
    assert KEY not in str(caught.value)
    keys.write_text(f"# since May\n{other}\n\n# before\n{KEY}\n", encoding="utf-8")
    both = storage_from_url(f"encrypted+memory:keys?encrypted.key_file={keys}")
    assert run_direct(both.get_range("object"))[0] == b"old"
    run_direct(both.put("object", b"new"))
    with pytest.raises(PermissionDenied):
        run_direct(storage.get_range("object"))
    assert bytes(run_direct(stored.get_range("object"))[0])[8:16] != bytes(16)


@pytest.mark.parametrize("text", ["", "# nothing", "c2hvcnQ=", "not base64!", f"{KEY}\n{KEY[:-4]}"])
def test_what_is_no_key_is_refused(text: str) -> None:
    """At open, saying where it stands and how to make one; the text itself is not shown."""
    with pytest.raises(StorageConfigError, match="python -m icechunk_encryption") as caught:
        storage_from_url("encrypted+memory:", encrypted={"key": text})
    assert len(text) < 5 or text not in str(caught.value)


def test_a_missing_key_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without the variable, and with a file that is not there, the error says what to set."""
    monkeypatch.delenv(VARIABLE)
    with pytest.raises(StorageConfigError, match=f"set the environment variable {VARIABLE}"):
        storage_from_url("encrypted+memory:")
    with pytest.raises(StorageConfigError, match="cannot read the encryption key"):
        storage_from_url(f"encrypted+memory:?encrypted.key_file={tmp_path / 'none'}")


def test_keys_do_not_travel_unless_given() -> None:
    """A pickled storage has the key only if it was an option; it shows it in neither case."""
    storage, _ = pair("pickled")
    assert KEY.encode() not in pickle.dumps(storage)
    given = storage_from_url("encrypted+memory:pickled", encrypted={"key": KEY})
    assert KEY.encode() in pickle.dumps(given)
    assert KEY not in repr(given)
