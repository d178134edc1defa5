"""Configuration of S3 storages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from attrs import evolve, field, fields, frozen

from icechunk_core.contract.credentials import AnyS3Credential, S3Credentials, S3StaticCredentials
from icechunk_core.contract.errors import StorageConfigError
from icechunk_s3._quirks import PROFILES, Quirks, profile_of

__all__ = ["CHECKSUMS", "HfConfig", "R2Config", "S3Config", "TigrisConfig"]

MEBIBYTE = 1 << 20
SMALLEST_PART = 5 * MEBIBYTE
"""Of a multipart upload, except its last one: S3's rule."""
LARGEST_PUT = 5 << 30
"""Bytes of an object that is written by one request: S3's rule."""

CHECKSUMS: Mapping[str, str] = {
    "crc32": "CRC32",
    "crc32c": "CRC32C",
    "crc64nvme": "CRC64NVME",
    "sha1": "SHA1",
    "sha256": "SHA256",
}
TIGRIS_ENDPOINT = "https://t3.storage.dev"


def _prefix(value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise StorageConfigError("the option 'prefix' must be text")
    return value.strip("/")


def _bucket(instance: object, attribute: Any, value: str) -> None:
    if not value or "/" in value:
        raise StorageConfigError("the option 'bucket' must be the name of a bucket; write s3://bucket/prefix")


def _endpoint(instance: S3Config, attribute: Any, value: str | None) -> None:
    if value is None:
        return
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise StorageConfigError("the option 'endpoint_url' must be a URL such as https://host:port")
    if parts.username or parts.password:
        raise StorageConfigError("the option 'endpoint_url' must not contain credentials")
    if parts.scheme == "http" and not instance.allow_http:
        raise StorageConfigError(
            "the option 'endpoint_url' is an http:// URL; set allow_http=true to send data unencrypted"
        )


def _positive(instance: object, attribute: Any, value: float) -> None:
    if not value > 0:
        raise StorageConfigError(f"the option {attribute.name!r} must be greater than 0, not {value!r}")


def _not_negative(instance: object, attribute: Any, value: float | None) -> None:
    if value is not None and value < 0:
        raise StorageConfigError(f"the option {attribute.name!r} must not be negative, not {value!r}")


def _positive_if_any(instance: object, attribute: Any, value: float | None) -> None:
    if value is not None:
        _positive(instance, attribute, value)


def _part(instance: object, attribute: Any, value: int) -> None:
    if value < SMALLEST_PART:
        raise StorageConfigError(f"the option {attribute.name!r} must be at least {SMALLEST_PART} bytes")


def _checksum(instance: object, attribute: Any, value: str | None) -> None:
    if value is not None and _plain(value) not in CHECKSUMS:
        known = ", ".join(CHECKSUMS)
        raise StorageConfigError(f"the option 'checksum_algorithm' must be one of {known}, not {value!r}")


def _plain(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "")


def _known_quirks(instance: object, attribute: Any, value: str) -> None:
    if value != "auto" and value not in PROFILES:
        known = ", ".join(PROFILES)
        raise StorageConfigError(f"the option 'quirks' must be auto or one of {known}, not {value!r}")


@frozen(kw_only=True, repr=False)
class S3Config:
    """Which bucket to open, and how.

    Attributes
    ----------
    bucket, prefix
        Where the objects are; an empty prefix is the whole bucket.
    region
        Of the bucket; the environment's by default, ``us-east-1`` without one.
    endpoint_url, allow_http
        Address of a compatible service, and whether it may be an ``http://`` one.
    credentials
        One of `S3Credentials`; or plain ``access_key_id``, ``secret_access_key`` and
        ``session_token``; or ``anonymous``; or a ``profile`` of the AWS configuration files.
        Otherwise they come from the environment.
    force_path_style
        Address the bucket in the path instead of the host name; ``None`` does so with an
        ``endpoint_url``.
    network_stream_timeout_seconds
        Give up when nothing arrives for so long; 0 waits for ever.
    connect_timeout, deadline
        Seconds for one connection attempt, and after which a failing request is not tried again
        (``deadline`` was called ``operation_timeout``).
    attempt_timeout, total_timeout
        Seconds for one request with its answer, and for a request with its repetitions, whatever it
        transfers; no limits of their own by default.
    max_attempts
        Tries of one request, the first one included.
    first_wait, longest_wait
        Seconds: the ceiling of the first wait between tries, which doubles up to the longest.
    requester_pays
        Accept the costs of requests.
    checksum_algorithm
        Checksum to send with uploads; ``None`` sends the SDK's default where the server is
        known to accept it.
    storage_class, server_side_encryption, kms_key_id
        For new objects: e.g. ``STANDARD_IA``, ``AES256`` or ``aws:kms``, and the key of the latter.
    legacy_rooted_keys
        Keys begin with a slash, as old versions of Icechunk wrote them at the root of a
        bucket; ``None`` finds out.
    read_headers, write_headers, headers
        Extra HTTP headers for reads, for writes, for both.
    multipart_threshold, multipart_part_size
        Objects of more bytes are uploaded in parts of this size.
    read_part_size
        Longer reads are split into parallel ones of this size.
    concurrent_parts
        Parts of one object that are under way at a time.
    max_connections
        Open connections per event loop.
    lean
        Send the frequent requests without the SDK's machinery, which costs a third of the time.
    user_agent
        What the client calls itself.
    quirks
        How the server differs: ``auto`` goes by the endpoint, otherwise the name of a profile.
    conditional_put
        Whether the server honours If-None-Match and If-Match on writes; ``None`` goes by ``quirks``.
    read_only
        Refuse all writes.
    """

    bucket: str = field(validator=_bucket)
    prefix: str = field(default="", converter=_prefix)
    region: str | None = None
    allow_http: bool = False
    endpoint_url: str | None = field(default=None, validator=_endpoint, metadata={"endpoint": True})
    credentials: AnyS3Credential | None = field(default=None, repr=False)
    access_key_id: str | None = field(default=None, repr=False)
    secret_access_key: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)
    anonymous: bool = False
    profile: str | None = None
    force_path_style: bool | None = None
    network_stream_timeout_seconds: float = field(
        default=60, validator=_not_negative, metadata={"tuned_by": "read_timeout"}
    )
    connect_timeout: float = field(default=5.0, validator=_positive, metadata={"tuned_by": "connect_timeout"})
    deadline: float = field(
        default=60.0,
        validator=_positive,
        metadata={"formerly": ("operation_timeout",), "tuned_by": "total_timeout"},
    )
    attempt_timeout: float | None = field(
        default=None, validator=_positive_if_any, metadata={"tuned_by": "attempt_timeout"}
    )
    total_timeout: float | None = field(
        default=None, validator=_positive_if_any, metadata={"tuned_by": "total_timeout"}
    )
    max_attempts: int = field(default=10, validator=_positive, metadata={"tuned_by": "attempts"})
    first_wait: float = field(default=0.1, validator=_not_negative, metadata={"tuned_by": "first_wait"})
    longest_wait: float = field(default=5.0, validator=_not_negative, metadata={"tuned_by": "longest_wait"})
    requester_pays: bool = False
    checksum_algorithm: str | None = field(default=None, validator=_checksum)
    storage_class: str | None = None
    server_side_encryption: str | None = None
    kms_key_id: str | None = None
    legacy_rooted_keys: bool | None = None
    read_headers: dict[str, str] | None = field(default=None, repr=False)
    write_headers: dict[str, str] | None = field(default=None, repr=False)
    headers: dict[str, str] | None = field(default=None, repr=False)
    multipart_threshold: int = field(
        default=16 * MEBIBYTE,
        validator=_part,
        metadata={"tuned_by": "multipart_threshold", "at_least": SMALLEST_PART, "at_most": LARGEST_PUT},
    )
    multipart_part_size: int = field(
        default=8 * MEBIBYTE,
        validator=_part,
        metadata={"tuned_by": "part_size", "at_least": SMALLEST_PART, "at_most": LARGEST_PUT},
    )
    read_part_size: int = field(
        default=12 * MEBIBYTE, validator=_positive, metadata={"tuned_by": "part_size"}
    )
    concurrent_parts: int = field(default=8, validator=_positive, metadata={"tuned_by": "concurrent_parts"})
    max_connections: int = field(default=64, validator=_positive)
    lean: bool = True
    user_agent: str | None = None
    quirks: str = field(default="auto", validator=_known_quirks)
    conditional_put: bool | None = None
    read_only: bool = False

    def __attrs_post_init__(self) -> None:
        self.signing()
        if self.legacy_rooted_keys and self.prefix:
            raise StorageConfigError("'legacy_rooted_keys' goes with an empty prefix only")

    def __repr__(self) -> str:
        shown = [
            f"{each.name}={getattr(self, each.name)!r}"
            for each in fields(type(self))
            if each.repr and getattr(self, each.name) != each.default
        ]
        return f"{type(self).__name__}({', '.join(shown)})"

    def signing(self) -> AnyS3Credential:
        """How requests are signed.

        Raises
        ------
        StorageConfigError
            If the options name more than one way, or half of one.
        """
        plain = self.access_key_id is not None or self.secret_access_key is not None
        ways = [self.credentials is not None, plain, self.anonymous, self.profile is not None]
        if sum(ways) > 1:
            raise StorageConfigError(
                "give one of 'credentials', 'access_key_id' and 'secret_access_key', 'anonymous', 'profile'"
            )
        if self.credentials is not None:
            return self.credentials
        if plain:
            if not self.access_key_id or not self.secret_access_key:
                raise StorageConfigError("'access_key_id' and 'secret_access_key' go together")
            return S3Credentials.Static(
                S3StaticCredentials(self.access_key_id, self.secret_access_key, self.session_token)
            )
        return S3Credentials.Anonymous() if self.anonymous else S3Credentials.FromEnv()

    @property
    def address(self) -> str | None:
        """The endpoint that is asked; ``None`` for Amazon's own."""
        return self.endpoint_url

    @property
    def path_style(self) -> bool:
        """Whether the bucket is addressed in the path."""
        if self.force_path_style is None:
            return self.address is not None
        return self.force_path_style

    @property
    def checksum(self) -> str | None:
        """The chosen checksum as the protocol names it."""
        return CHECKSUMS[_plain(self.checksum_algorithm)] if self.checksum_algorithm else None

    @property
    def location(self) -> str:
        """The URL, and who is asked where that is not Amazon."""
        url = f"s3://{self.bucket}/{self.prefix}".rstrip("/")
        return url if self.address is None else f"{url} at {self.address}"

    @property
    def place(self) -> str:
        """The bucket and where it is, for messages."""
        return f"bucket {self.bucket!r} at {self.address or 'Amazon S3'}"

    def server(self) -> Quirks:
        """How the server differs from others."""
        quirks = profile_of(self.address) if self.quirks == "auto" else PROFILES[self.quirks]
        if self.conditional_put is None:
            return quirks
        return evolve(quirks, create=self.conditional_put, update=self.conditional_put)


@frozen(kw_only=True, repr=False)
class R2Config(S3Config):
    """A bucket of Cloudflare R2; the options are those of `S3Config`.

    Attributes
    ----------
    account_id
        Of the Cloudflare account, from which the address follows; or give ``endpoint_url``.
    """

    account_id: str | None = None
    region: str | None = "auto"
    quirks: str = field(default="r2", validator=_known_quirks)

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        if self.endpoint_url is None and not self.account_id:
            raise StorageConfigError("R2 storage needs the option 'account_id' or 'endpoint_url'")

    @property
    def address(self) -> str | None:
        return self.endpoint_url or f"https://{self.account_id}.r2.cloudflarestorage.com"


@frozen(kw_only=True, repr=False)
class TigrisConfig(S3Config):
    """A bucket of Tigris; the options are those of `S3Config`.

    Attributes
    ----------
    use_weak_consistency
        Read from the nearest region, which may be behind; the storage is read-only then.
        Otherwise a ``region`` is needed: reads are consistent within one region only.
    """

    use_weak_consistency: bool = False
    quirks: str = field(default="tigris", validator=_known_quirks)

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        if self.region is None and not self.use_weak_consistency:
            raise StorageConfigError(
                "Tigris reads are consistent within one region only: give the option 'region', or "
                "use_weak_consistency=true for reading"
            )

    @property
    def address(self) -> str | None:
        return self.endpoint_url or TIGRIS_ENDPOINT

    @property
    def path_style(self) -> bool:
        return bool(self.force_path_style)


@frozen(kw_only=True, repr=False)
class HfConfig(S3Config):
    """A storage bucket of Hugging Face; the options are those of `S3Config`.

    Attributes
    ----------
    namespace
        Owner of the bucket, a user or an organisation; or give ``endpoint_url``.
    """

    namespace: str | None = None
    region: str | None = "us-east-1"

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        if self.endpoint_url is None and not self.namespace:
            raise StorageConfigError("Hugging Face storage needs the option 'namespace' or 'endpoint_url'")

    @property
    def address(self) -> str | None:
        return self.endpoint_url or f"https://s3.hf.co/{self.namespace}"
