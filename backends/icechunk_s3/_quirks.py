"""How servers that speak S3 differ, as values: chosen by the endpoint, or by the option ``quirks``."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from attrs import evolve, frozen

from icechunk_core.contract import KeySpace

__all__ = ["PROFILES", "Quirks", "profile_of"]


@frozen
class Quirks:
    """What is special about a server.

    Attributes
    ----------
    create, update
        If-None-Match and If-Match are honoured on writes.
    quoted_etag
        If-Match takes the ETag in quotes, as HTTP has it.
    conditional_multipart
        Conditions hold when a multipart upload is completed; otherwise conditional objects go
        in one request.
    flat_listing
        Listings come in the order of the keys' bytes. Otherwise they are asked for folder by
        folder, where every order by name is the same.
    default_checksums
        The SDK's default checksums are understood.
    checksum_headers
        ``x-amz-checksum-crc32`` may be sent, as a header that a server may not know.
    batch_delete
        Many objects can be deleted with one request.
    refused
        Characters in keys that the server takes for others, or cannot hold.
    key_space
        Which keys can coexist.
    """

    name: str
    create: bool = True
    update: bool = True
    quoted_etag: bool = True
    conditional_multipart: bool = True
    flat_listing: bool = True
    default_checksums: bool = False
    checksum_headers: bool = True
    batch_delete: bool = True
    refused: str = ""
    key_space: KeySpace = KeySpace.FLAT


# What is known of no server in particular: careful where servers differ.
_GENERIC = Quirks("generic", flat_listing=False, refused="\\")

PROFILES: Mapping[str, Quirks] = {
    profile.name: profile
    for profile in (
        _GENERIC,
        Quirks("aws", default_checksums=True),
        Quirks("r2"),
        Quirks("tigris"),
        Quirks("minio"),
        # Measured with radosgw 16: If-Match in quotes never matches; completing an upload ignores conditions.
        Quirks("ceph", quoted_etag=False, conditional_multipart=False, checksum_headers=False),
        # Sorts per path segment ('a/b' before 'a!'); a backslash becomes a slash.
        evolve(_GENERIC, name="seaweedfs"),
        # Its S3 protocol has no conditional writes (they need x-goog-if-generation-match).
        Quirks("gcs", create=False, update=False, batch_delete=False, checksum_headers=False),
    )
}

_BY_HOST: Mapping[str, str] = {
    "amazonaws.com": "aws",
    "amazonaws.com.cn": "aws",
    "r2.cloudflarestorage.com": "r2",
    "t3.storage.dev": "tigris",
    "fly.storage.tigris.dev": "tigris",
    "storage.googleapis.com": "gcs",
}


def profile_of(endpoint_url: str | None) -> Quirks:
    """The profile of the server at an endpoint; ``None`` is Amazon's own.

    >>> profile_of("https://s3.eu-west-1.amazonaws.com").name, profile_of("http://localhost:9000").name
    ('aws', 'generic')
    """
    if endpoint_url is None:
        return PROFILES["aws"]
    host = urlsplit(endpoint_url).hostname or ""
    for domain, name in _BY_HOST.items():
        if host == domain or host.endswith("." + domain):
            return PROFILES[name]
    return _GENERIC
