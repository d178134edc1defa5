"""What is sent along with a body, so that the server notices one that was cut or changed.

Per 4 MiB, on the machine of this project's measurements: SHA-256 2.5 ms, MD5 5.6 ms, CRC32 0.9 ms.
"""

from __future__ import annotations

import base64
import hashlib
import zlib
from collections.abc import Mapping, Sequence

from attrs import define, field

from icechunk_core.contract import Buffer, pieces
from icechunk_s3._client import content_md5
from icechunk_s3._quirks import Quirks

__all__ = ["CRC32", "LARGE", "BodyDigests"]

CRC32 = "x-amz-checksum-crc32"
LARGE = 1 << 20
"""Bytes from which the time for a checksum counts."""
UNSIGNED = "UNSIGNED-PAYLOAD"
_BLOCK = 256 << 10
"""Bytes that stay in the processor's cache from one checksum to the next."""


@define
class BodyDigests:
    """Chooses digests for one server.

    A small body gets ``Content-MD5``, which every server knows, unless the SDK's default checksums are
    known to be understood. A large one gets CRC32 where the server takes notice of it. Whether it
    does is found out with the first body, small or large, which gets both: such a server names the
    checksum in its answer.

    Parameters
    ----------
    encrypted
        The connection is TLS's: what it protects, the signature of a large body need not, too.
    """

    _quirks: Quirks
    _encrypted: bool
    _crc32_understood: bool | None = field(init=False)

    def __attrs_post_init__(self) -> None:
        known = self._quirks.default_checksums or not self._quirks.checksum_headers
        self._crc32_understood = self._quirks.default_checksums if known else None

    def of(self, body: Sequence[Buffer], *, part: bool = False) -> tuple[str, dict[str, str]]:
        """What the signature covers, and headers.

        Parameters
        ----------
        part
            It is one of an upload in parts. All of them have the same kind of checksum.
        """
        headers: dict[str, str] = {}
        large = part or sum([memoryview(each).nbytes for each in body]) >= LARGE
        understood = self._crc32_understood
        with_crc32 = understood is None or (understood and large)
        with_md5 = not (understood and (large or self._quirks.default_checksums))
        signed = not (self._encrypted and large and (with_crc32 or with_md5))
        crc32, sha256 = _sums(body, crc32=with_crc32, sha256=signed)
        if with_crc32:
            headers[CRC32] = base64.b64encode(crc32.to_bytes(4, "big")).decode()
        if with_md5:
            headers["content-md5"] = content_md5(*body)
        return sha256 or UNSIGNED, headers

    def learn(self, sent: Mapping[str, str], answered: Mapping[str, str]) -> None:
        """Look at an answer: whether the server knows the checksum it was sent."""
        if self._crc32_understood is None and CRC32 in sent:
            self._crc32_understood = answered.get(CRC32) == sent[CRC32]


def _sums(body: Sequence[Buffer], *, crc32: bool, sha256: bool) -> tuple[int, str]:
    """CRC32 and SHA-256, or 0 and nothing, block by block: memory is slower than they are.

    For 4 MiB that are in no cache, both one after the other take 4.3 ms, like this 3.6 ms.
    """
    checksum, digest = 0, hashlib.sha256()
    for block in pieces(body, _BLOCK):
        if crc32:
            checksum = zlib.crc32(block, checksum)
        if sha256:
            digest.update(block)
    return checksum, digest.hexdigest() if sha256 else ""
