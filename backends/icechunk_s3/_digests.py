"""What is sent along with a body, so that the server notices one that was cut or changed.

Per 4 MiB, on the machine of this project's measurements: SHA-256 2.5 ms, MD5 5.6 ms, CRC32 0.9 ms.
"""

from __future__ import annotations

import base64
import hashlib
import zlib
from collections.abc import Mapping

from attrs import define, field

from icechunk_core.contract import Buffer
from icechunk_s3._client import content_md5
from icechunk_s3._quirks import Quirks

__all__ = ["CRC32", "LARGE", "BodyDigests"]

CRC32 = "x-amz-checksum-crc32"
LARGE = 1 << 20
"""Bytes from which the time for a checksum counts."""
UNSIGNED = "UNSIGNED-PAYLOAD"


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

    def of(self, body: Buffer, *, part: bool = False) -> tuple[str, dict[str, str]]:
        """What the signature covers, and headers.

        Parameters
        ----------
        part
            It is one of an upload in parts. All of them have the same kind of checksum.
        """
        headers: dict[str, str] = {}
        large = part or len(body) >= LARGE
        understood = self._crc32_understood
        if understood is None or (understood and large):
            headers[CRC32] = base64.b64encode(zlib.crc32(body).to_bytes(4, "big")).decode()
        if not (understood and (large or self._quirks.default_checksums)):
            headers["content-md5"] = content_md5(body)
        signed = not (self._encrypted and large and headers)
        return (hashlib.sha256(body).hexdigest() if signed else UNSIGNED), headers

    def learn(self, sent: Mapping[str, str], answered: Mapping[str, str]) -> None:
        """Look at an answer: whether the server knows the checksum it was sent."""
        if self._crc32_understood is None and CRC32 in sent:
            self._crc32_understood = answered.get(CRC32) == sent[CRC32]
