"""The format of an encrypted object: a header, then frames that are encrypted one by one. No I/O.

===========  ======  ================================================================
header       8       ``ICENC`` and the format's number, 1; big-endian throughout
             8       id of the key
             8       length of the plaintext
             32      salt, random for each object
             8       zero
each frame   16,384  plaintext, less in the last frame; an empty object has one empty frame
             16      tag
===========  ======  ================================================================

The object's own key is derived (HKDF-SHA256) from key and salt; each frame is encrypted under it with
AES-256-GCM. Its nonce is the number of the frame, and what the tag covers besides is the header and
the object's name. So a frame that was changed, swapped with another, moved to another object, or cut
off does not decrypt, and no nonce is ever used twice under one key.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Sequence

from attrs import frozen
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from icechunk_core.contract import Buffer
from icechunk_core.contract.errors import Corrupt, PermissionDenied
from icechunk_encryption._keys import KEY_BYTES, Keys, derive

__all__ = [
    "FRAME",
    "HEADER",
    "Cipher",
    "encrypt",
    "encrypted_size",
    "frames_around",
    "largest_plaintext",
    "open_header",
    "plain_size",
]

FRAME = 16 << 10
TAG = 16
_MAGIC = b"ICENC\0\0\1"
_HEADER = struct.Struct(">8s8sQ32s8x")
HEADER = _HEADER.size


def encrypted_size(plain: int) -> int:
    """Bytes of an object as it is stored.

    >>> encrypted_size(0), encrypted_size(1), encrypted_size(16384), encrypted_size(16385)
    (80, 81, 16464, 16481)
    """
    return HEADER + plain + TAG * max(1, -(-plain // FRAME))


def plain_size(stored: int) -> int | None:
    """Bytes of an object as it was put; ``None`` for a size that no encrypted object has.

    >>> plain_size(80), plain_size(16481), plain_size(12), plain_size(64 + 16384 + 16 + 7)
    (0, 16385, None, None)
    """
    body = stored - HEADER
    if body < TAG:
        return None
    plain = body - TAG * -(-body // (FRAME + TAG))
    return plain if plain >= 0 and encrypted_size(plain) == stored else None


def largest_plaintext(stored: int) -> int:
    """The largest object that fits when it is encrypted."""
    body = max(0, stored - HEADER)
    return body // (FRAME + TAG) * FRAME + max(0, body % (FRAME + TAG) - TAG)


def frames_around(start: int, end: int) -> tuple[int, int, int]:
    """The first frame that a part of the plaintext touches, and where the frames begin and end in the object.

    >>> frames_around(16380, 16390)
    (0, 64, 32864)
    """
    first, last = start // FRAME, max(start, end - 1) // FRAME
    return first, HEADER + first * (FRAME + TAG), HEADER + (last + 1) * (FRAME + TAG)


@frozen
class Cipher:
    """What decrypts one object: its own key, and what its header says."""

    key: str
    length: int
    aead: AESGCM
    covered: bytes

    def decrypt(self, frames: memoryview, first: int) -> Sequence[bytes]:
        """Plaintext of consecutive frames, of which ``first`` is the first.

        Raises
        ------
        Corrupt
            If they are not what was encrypted.
        """
        try:
            return [
                self.aead.decrypt(_nonce(first + number), frames[at : at + FRAME + TAG], self.covered)
                for number, at in enumerate(range(0, len(frames), FRAME + TAG))
            ]
        except (InvalidTag, ValueError) as error:
            raise Corrupt("changed after it was encrypted, or damaged", object_name=self.key) from error


def encrypt(keys: Keys, key: str, buffers: Sequence[Buffer]) -> list[bytes]:
    """Header and frames of an object, as buffers."""
    data = memoryview(buffers[0] if len(buffers) == 1 else b"".join(buffers)).cast("B")
    salt = os.urandom(32)
    header = _HEADER.pack(_MAGIC, keys.current, len(data), salt)
    cipher = _cipher(keys.by_id[keys.current], key, header, salt, len(data))
    return [header, *_frames(cipher, data)]


def _frames(cipher: Cipher, data: memoryview) -> Iterator[bytes]:
    for number, at in enumerate(range(0, max(1, len(data)), FRAME)):
        yield cipher.aead.encrypt(_nonce(number), data[at : at + FRAME], cipher.covered)


def open_header(keys: Keys, key: str, header: bytes, stored: int) -> Cipher:
    """What decrypts an object that begins with ``header`` and is ``stored`` bytes long.

    Raises
    ------
    PermissionDenied
        If it is encrypted with a key that is not here.
    Corrupt
        If it is not encrypted at all, or has not the length that it says.
    """
    if len(header) < HEADER or not header.startswith(_MAGIC):
        raise Corrupt(
            "not encrypted by this wrapper; is it a repository without encryption? "
            "Then open it without 'encrypted+'",
            object_name=key,
        )
    _, key_id, length, salt = _HEADER.unpack(header)
    secret = keys.by_id.get(key_id)
    if secret is None:
        here = ", ".join(each.hex() for each in keys.by_id)
        raise PermissionDenied(
            f"object {key!r} is encrypted with the key {key_id.hex()}, and this storage has {here}; "
            "add the missing key as a further line of the keys",
            key=key,
        )
    if encrypted_size(length) != stored:
        raise Corrupt(
            f"{stored} bytes instead of {encrypted_size(length)}: cut off, or changed after it was encrypted",
            object_name=key,
        )
    return _cipher(secret, key, header, salt, length)


def _cipher(secret: bytes, key: str, header: bytes, salt: bytes, length: int) -> Cipher:
    own = derive(secret, salt, b"object", KEY_BYTES)
    return Cipher(key, length, AESGCM(own), header + key.encode("utf-8", "surrogatepass"))


def _nonce(frame: int) -> bytes:
    return frame.to_bytes(12, "big")
