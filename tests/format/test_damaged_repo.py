"""Damaged repo info files, refs and configurations: `Corrupt` or a well-formed value, never anything else."""

from __future__ import annotations

import contextlib
import struct
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icechunk_core.errors import Corrupt, FormatError
from icechunk_core.format.config_codec import (
    decode_config_flexbuffers,
    decode_config_yaml,
    encode_config_flexbuffers,
    encode_config_yaml,
)
from icechunk_core.format.envelope import FileType, seal, unseal
from icechunk_core.format.refs_v1 import decode_ref
from icechunk_core.format.repo_info import decode_repo_info, encode_repo_info
from tests.vectors_support import SPEC_1_NAMES, SPEC_2_NAMES, VECTOR_NAMES, Vector, load_vector

SMALL_NAMES = [name for name in SPEC_2_NAMES if name != "v21-long"]


def use_repo_info(data: bytes) -> None:
    """Look at everything in a repo info file, and write it again."""
    with contextlib.suppress(Corrupt):
        info = decode_repo_info(data, name="repo")
        assert all(isinstance(id, bytes) for id in (*info.branches.values(), *info.tags.values()))
        for snapshot in info.snapshots:
            assert info.snapshots.parent_of(snapshot.id) == snapshot.parent_id
        assert len(list(info.updates)) == len(info.updates)
        if info.config is not None:
            decode_config_flexbuffers(info.config, name="repo")
        with contextlib.suppress(FormatError):
            decode_repo_info(encode_repo_info(info), name="repo")


def flipped(data: bytes, step: int = 1) -> Iterator[bytes]:
    """The data with one byte changed, for every byte and two changes."""
    for position in range(0, len(data), step):
        for change in (0x01, 0xFF):
            damaged = bytearray(data)
            damaged[position] ^= change
            yield bytes(damaged)


def repo_files(vector: Vector) -> list[bytes]:
    """The repo info file and the smallest and largest backup of a vector."""
    backups = sorted((vector.read(key) for key in vector.keys("overwritten") if "config" not in key), key=len)
    return [vector.read("repo"), *backups[:1], *backups[-1:]]


def payload_of(data: bytes) -> bytes:
    return unseal(data, FileType.REPO_INFO, name="repo")[1]


def sealed(payload: bytes) -> bytes:
    return seal(FileType.REPO_INFO, payload, spec_version=2, level=1)


def sample(data: bytes, most: int) -> int:
    """A step that visits about ``most`` bytes of the data."""
    return max(1, len(data) // most)


@pytest.mark.parametrize("name", SMALL_NAMES)
def test_flipped_bytes_of_files(name: str) -> None:
    """Flipping bytes of the file as it lies on storage."""
    for data in repo_files(load_vector(name)):
        for damaged in flipped(data, sample(data, 60)):
            use_repo_info(damaged)


@pytest.mark.parametrize("name", SMALL_NAMES)
def test_flipped_bytes_of_payloads(name: str) -> None:
    """Flipping bytes of the decompressed content."""
    for data in repo_files(load_vector(name)):
        payload = payload_of(data)
        for damaged in flipped(payload, sample(payload, 90)):
            use_repo_info(sealed(damaged))


@pytest.mark.slow
@pytest.mark.parametrize("name", SPEC_2_NAMES)
def test_every_flipped_byte(name: str) -> None:
    """Flipping every byte of the largest of the small repo info files, and of its decompressed content. The
    others are earlier states of the same."""
    small = sorted((data for data in repo_files(load_vector(name)) if len(data) <= 3000), key=len)
    for data in small[-1:]:
        for damaged in flipped(data):
            use_repo_info(damaged)
        for damaged in flipped(payload_of(data)):
            use_repo_info(sealed(damaged))


@pytest.mark.parametrize("name", ["v21-basic", "v21-expired"])
def test_truncated(name: str) -> None:
    """Cutting the file, or its decompressed content, anywhere."""
    data = load_vector(name).read("repo")
    payload = payload_of(data)
    for end in range(len(data)):
        with pytest.raises(Corrupt):
            decode_repo_info(data[:end], name="repo")
    for end in range(0, len(payload), 7):
        use_repo_info(sealed(payload[:end]))


@given(st.data())
def test_overwritten_words(data: st.DataObject) -> None:
    """Any 32-bit word, such as an offset or a count, replaced by any other."""
    payload = bytearray(payload_of(load_vector("v21-basic").read("repo")))
    for _ in range(data.draw(st.integers(1, 4))):
        word = data.draw(
            st.integers(0, 2**32 - 1) | st.integers(0, 600) | st.integers(2**32 - 600, 2**32 - 1)
        )
        struct.pack_into("<I", payload, data.draw(st.integers(0, len(payload) // 4 - 1)) * 4, word)
    use_repo_info(sealed(bytes(payload)))


@given(st.binary(max_size=200))
def test_any_payload(payload: bytes) -> None:
    """Random content in a correct envelope."""
    use_repo_info(sealed(payload))


def test_huge_counts_allocate_nothing() -> None:
    """Every word of a small file replaced by a count of billions."""
    payload = payload_of(load_vector("v21-gc").read("repo"))
    tracemalloc.start()
    for position in range(0, len(payload) - 3, 16):
        for word in (2**32 - 1, 2**31 - 1, 2**28):
            damaged = bytearray(payload)
            struct.pack_into("<I", damaged, position, word)
            use_repo_info(sealed(bytes(damaged)))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 64 * 2**20


CONFIG_CODECS: list[tuple[Callable[..., Any], Callable[..., Any]]] = [
    (decode_config_yaml, encode_config_yaml),
    (decode_config_flexbuffers, encode_config_flexbuffers),
]


def stored_configs() -> Iterator[tuple[bytes, Callable[..., Any], Callable[..., Any]]]:
    for vector in map(load_vector, VECTOR_NAMES):
        if (vector.repo / "config.yaml").exists():
            yield vector.read("config.yaml"), *CONFIG_CODECS[0]
        if (vector.repo / "repo").exists():
            config = decode_repo_info(vector.read("repo"), name="repo").config
            if config is not None:
                yield config, *CONFIG_CODECS[1]


def test_flipped_bytes_of_configurations() -> None:
    """Flipping bytes of stored configurations; what still decodes can be written."""
    for data, decode, encode in stored_configs():
        for damaged in flipped(data, sample(data, 100)):
            with contextlib.suppress(Corrupt):
                config = decode(damaged, name="config")
                with contextlib.suppress(FormatError):
                    assert decode(encode(config), name="config") == config


def test_flipped_bytes_of_refs() -> None:
    """Flipping every byte of spec 1 refs."""
    for vector in map(load_vector, SPEC_1_NAMES):
        for key in vector.keys("refs"):
            for damaged in flipped(vector.read(key)):
                with contextlib.suppress(Corrupt):
                    assert len(decode_ref(damaged, name=key)) == 12
