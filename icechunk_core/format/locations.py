"""Virtual chunk locations: plain, or compressed with a shared zstd dictionary (FORMAT.md, 6.2 and 15)."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Final

import zstandard
from attrs import frozen

from icechunk_core.errors import Corrupt

__all__ = ["MAX_LOCATION_SIZE", "LocationCompression", "LocationDecompressor", "train_dictionary"]

MAX_LOCATION_SIZE: Final = 1024
"""Longest location, in bytes of UTF-8, that may be stored compressed."""

_SHORT_SAMPLE: Final = 8


@frozen
class LocationCompression:
    """When and how a manifest's virtual locations are compressed.

    Attributes
    ----------
    min_num_chunks
        Only manifests with at least this many virtual refs get a dictionary.
    max_training_samples
        How many locations the dictionary is trained on.
    max_dictionary_size
        Largest dictionary, in bytes.
    level
        zstd level of the compressed locations.
    """

    min_num_chunks: int = 1000
    max_training_samples: int = 100
    max_dictionary_size: int = 2048
    level: int = 3


class LocationDecompressor:
    """Decompresses the locations of one manifest, on demand.

    The dictionary is loaded with the first location. May be shared by threads.
    """

    __slots__ = ("_decompressor", "_dictionary", "_lock", "_name")

    def __init__(self, dictionary: bytes, *, name: str) -> None:
        self._dictionary = dictionary
        self._name = name
        self._lock = threading.Lock()
        self._decompressor: zstandard.ZstdDecompressor | None = None

    def decompress(self, frame: bytes) -> bytes:
        """The location's UTF-8 bytes; `Corrupt` if damaged or longer than `MAX_LOCATION_SIZE`."""
        try:
            declared = zstandard.frame_content_size(frame)
            if declared > MAX_LOCATION_SIZE:
                raise Corrupt(f"compressed location of {declared} bytes", object_name=self._name)
            with self._lock:
                if self._decompressor is None:
                    self._decompressor = zstandard.ZstdDecompressor(
                        dict_data=zstandard.ZstdCompressionDict(self._dictionary)
                    )
                return self._decompressor.decompress(frame, max_output_size=MAX_LOCATION_SIZE)
        except (zstandard.ZstdError, ValueError, MemoryError) as error:
            raise Corrupt(f"damaged compressed location: {error}", object_name=self._name) from error


def train_dictionary(samples: Sequence[bytes], max_size: int) -> bytes | None:
    """Train a zstd dictionary of at most `max_size` bytes; None if the samples do not allow one.

    Few or short samples are repeated until they fill `max_size`.
    """
    if not samples or 2 * sum(len(sample) < _SHORT_SAMPLE for sample in samples) >= len(samples):
        return None
    total = sum(map(len, samples))
    repeated: list[bytes | bytearray | memoryview] = list(samples)
    if total < max_size:
        repeated *= -(-max_size // total)
    try:
        return zstandard.train_dictionary(max_size, repeated).as_bytes()
    except zstandard.ZstdError:
        return None
