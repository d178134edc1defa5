"""Configuration of storage on Google Cloud Storage."""

from __future__ import annotations

import os
import re
from typing import Any
from urllib.parse import urlsplit

from attrs import field, fields, frozen

from icechunk_core.contract.credentials import AnyGcsCredential
from icechunk_core.contract.keys import check_key
from icechunk_core.errors import InvalidKey, StorageConfigError

__all__ = ["GcsConfig"]

_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")


def _bucket(value: Any) -> str:
    if not isinstance(value, str) or not _BUCKET.fullmatch(value):
        raise StorageConfigError(
            "the option 'bucket' must be the name of a bucket (3 or more small letters, digits, '-', '_', "
            f"'.'), not {value!r}; write gs://bucket/prefix"
        )
    return value


def _prefix(value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise StorageConfigError(f"the option 'prefix' must be text, not a {type(value).__name__}")
    prefix = value.strip("/")
    try:
        return check_key(prefix) if prefix else ""
    except InvalidKey as error:
        raise StorageConfigError(f"the option 'prefix': {error.message}") from None


def _endpoint(value: Any) -> str | None:
    if value is None or value == "":
        return None
    text = str(value).rstrip("/")
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or parts.scheme not in ("http", "https") or parts.query or parts.username:
        raise StorageConfigError("the option 'endpoint_url' must be a URL such as http://127.0.0.1:4443")
    return parts.geturl()


def _emulator() -> str | None:
    return _endpoint(os.environ.get("STORAGE_EMULATOR_HOST"))


def _reads(value: Any) -> str:
    if value not in ("auto", "xml", "json"):
        raise StorageConfigError(f"the option 'reads' must be auto, xml or json, not {value!r}")
    return str(value)


def _positive(instance: object, attribute: Any, value: float) -> None:
    if not value > 0:
        raise StorageConfigError(f"the option {attribute.name!r} must be greater than 0, not {value!r}")


def _not_negative(instance: object, attribute: Any, value: float) -> None:
    if value < 0:
        raise StorageConfigError(f"the option {attribute.name!r} must not be negative, not {value!r}")


def _positive_if_any(instance: object, attribute: Any, value: float | None) -> None:
    if value is not None:
        _positive(instance, attribute, value)


@frozen(repr=False)
class GcsConfig:
    """Which bucket to open, and how.

    Attributes
    ----------
    bucket, prefix
        Where the objects are; without a prefix, the whole bucket.
    endpoint_url
        Another server than Google's, such as an emulator's; by default the environment's
        ``STORAGE_EMULATOR_HOST``. Over plain ``http://`` no credentials of the environment are sent.
    allow_http
        Accept an ``http://`` address that is not of this machine.
    credentials
        One of `GcsCredentials`; or plain ``service_account_file``, ``service_account_key``,
        ``application_credentials``, ``bearer_token`` or ``anonymous``. Otherwise they come from the
        environment: application default credentials.
    anonymous
        Do not sign requests, for public buckets.
    from_env
        Take credentials from the environment, which is the default.
    service_account_file, service_account_key
        A service account's JSON file, or its text.
    application_credentials
        An application default credentials file.
    bearer_token
        An OAuth token, used until the server refuses it.
    user_project
        The project that pays for requests (buckets where the requester pays).
    storage_class
        Of new objects; default is the bucket's.
    kms_key_name
        Cloud KMS key for new objects; default is the bucket's.
    headers, read_headers, write_headers
        Extra HTTP headers for all requests, those that read, and those that write.
    config
        Options under the names of Icechunk's own GCS client (``google_base_url``, …).
    concurrency
        Requests at the same time, also the number of connections and worker threads.
    connect_timeout, read_timeout
        Seconds to wait for a connection, and for the next bytes on one.
    deadline
        Seconds after which an operation gives up, all repetitions included.
    attempt_timeout, total_timeout
        Seconds for one request with its answer, and for a request with its repetitions, whatever it
        transfers; no limits of their own by default.
    max_attempts
        How often a request is sent that fails for a passing reason (it was called ``max_tries``).
    first_wait, longest_wait
        Seconds: the ceiling of the first wait before a repetition, which doubles up to the longest.
    resumable_from
        Objects of this many bytes or more are uploaded in several requests. Conditional puts,
        unless they are larger than 256 MiB, take one request.
    read_part_size, concurrent_parts
        Reads of more than four times as many bytes are split into reads of this size, and how many of
        them are under way at a time.
    reads
        Protocol of reads: ``xml`` (what Google's servers are read by), ``json``, or ``auto``, which is
        ``xml`` for addresses in ``googleapis.com`` and ``json`` for all others.
    lean
        Send requests over aiohttp instead of Google's session in threads, at a fraction of the
        time per request.
    read_only
        Refuse all writes.
    """

    bucket: str = field(converter=_bucket)
    prefix: str = field(default="", converter=_prefix)
    endpoint_url: str | None = field(factory=_emulator, converter=_endpoint, metadata={"endpoint": True})
    allow_http: bool = False
    credentials: AnyGcsCredential | None = None
    anonymous: bool = False
    from_env: bool = False
    service_account_file: str | None = None
    service_account_key: str | None = field(default=None, repr=False)
    application_credentials: str | None = None
    bearer_token: str | None = field(default=None, repr=False)
    user_project: str | None = None
    storage_class: str | None = None
    kms_key_name: str | None = None
    headers: dict[str, str] | None = field(default=None, repr=False)
    read_headers: dict[str, str] | None = field(default=None, repr=False)
    write_headers: dict[str, str] | None = field(default=None, repr=False)
    config: dict[str, str] | None = field(default=None, repr=False)
    concurrency: int = field(default=32, validator=_positive)
    connect_timeout: float = field(default=5.0, validator=_positive, metadata={"tuned_by": "connect_timeout"})
    read_timeout: float = field(default=30.0, validator=_positive, metadata={"tuned_by": "read_timeout"})
    deadline: float = field(default=120.0, validator=_positive, metadata={"tuned_by": "total_timeout"})
    attempt_timeout: float | None = field(
        default=None, validator=_positive_if_any, metadata={"tuned_by": "attempt_timeout"}
    )
    total_timeout: float | None = field(
        default=None, validator=_positive_if_any, metadata={"tuned_by": "total_timeout"}
    )
    max_attempts: int = field(
        default=8, validator=_positive, metadata={"formerly": ("max_tries",), "tuned_by": "attempts"}
    )
    first_wait: float = field(default=0.1, validator=_not_negative, metadata={"tuned_by": "first_wait"})
    longest_wait: float = field(default=5.0, validator=_not_negative, metadata={"tuned_by": "longest_wait"})
    resumable_from: int = field(
        default=64 << 20, validator=_positive, metadata={"tuned_by": "multipart_threshold", "at_least": 1}
    )
    read_part_size: int = field(default=8 << 20, validator=_positive, metadata={"tuned_by": "part_size"})
    concurrent_parts: int = field(default=32, validator=_positive, metadata={"tuned_by": "concurrent_parts"})
    reads: str = field(default="auto", converter=_reads)
    lean: bool = True
    read_only: bool = False

    @property
    def location(self) -> str:
        """The URL, and who is asked where that is not Google."""
        url = f"gs://{self.bucket}/{self.prefix}".rstrip("/")
        return url if self.endpoint_url is None else f"{url} at {self.endpoint_url}"

    def __repr__(self) -> str:
        # It stands in every message about a repository: what is as usual is left out.
        usual = {each.name: each.default for each in fields(GcsConfig) if each.repr}
        usual["endpoint_url"] = None
        said = {name: getattr(self, name) for name in usual if getattr(self, name) != usual[name]}
        return f"GcsConfig({', '.join(f'{name}={value!r}' for name, value in said.items())})"
