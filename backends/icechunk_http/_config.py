"""Configuration of HTTP storage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

from attrs import field, frozen

from icechunk_core.errors import ErrorKind, StorageConfigError

__all__ = ["HttpConfig", "RedirectConfig"]


def _address(value: Any) -> str:
    """An address without a slash at its end; its errors never show it, for it may hold secrets."""
    if not isinstance(value, str):
        raise StorageConfigError("the option 'base_url' must be text such as https://host/path")
    try:
        parts = urlsplit(value)
        _ = parts.port
    except ValueError:
        parts = urlsplit("")
    if parts.scheme.lower() not in ("http", "https") or not parts.hostname:
        raise StorageConfigError(
            "the option 'base_url' must be an address such as https://host/path",
            kind=ErrorKind.CANNOT_PARSE_URL,
        )
    if parts.username or parts.password:
        raise StorageConfigError(
            "the option 'base_url' must not contain credentials; pass 'username' and 'password'"
        )
    if parts.query or parts.fragment:
        raise StorageConfigError(
            "the option 'base_url' is the address of a directory of files, without a query ('?') or fragment "
            "('#'); pass secrets as 'headers' or 'bearer_token'"
        )
    # What is not ASCII is sent percent-encoded; what is encoded already stays as it is.
    path = quote(parts.path.rstrip("/"), safe="/%:@!$&'()*+,;=~")
    return urlunsplit((parts.scheme.lower(), parts.netloc.lower(), path, "", ""))


def _redirecting(value: Any) -> str:
    """Any address without credentials; it may have a query."""
    text = value if isinstance(value, str) else ""
    _address(text.partition("?")[0])
    return text


def _texts(value: Any) -> dict[str, str]:
    if not isinstance(value, Mapping):
        raise StorageConfigError("'headers' and 'opts' are mappings of text to text, and not for URLs")
    for name, text in value.items():
        if not isinstance(name, str) or not isinstance(text, str):
            raise StorageConfigError(f"the header or option {name!r} must be text")
        if any(letter in name + text for letter in "\r\n\0"):
            raise StorageConfigError(f"the header or option {name!r} has a line break or NUL in it")
    return dict(value)


def _positive(_: object, attribute: Any, value: float | None) -> None:
    if value is not None and not value > 0:
        raise StorageConfigError(f"the option {attribute.name!r} must be greater than 0, not {value!r}")


def _not_negative(_: object, attribute: Any, value: float) -> None:
    if value < 0:
        raise StorageConfigError(f"the option {attribute.name!r} must not be negative, not {value!r}")


@frozen
class HttpConfig:
    """Where a repository is served, and how to ask for it.

    Attributes
    ----------
    base_url
        Address of the directory that holds the repository. In a storage URL it is the URL itself.
    headers
        Sent with every request to that host, e.g. ``{"authorization": "..."}``.
    bearer_token
        Sent as ``Authorization: Bearer ...``.
    username, password
        Sent as basic authentication.
    opts
        Options under the names that Icechunk's users know from object_store's HTTP client.
    user_agent
        What the client calls itself.
    connect_timeout
        Seconds to wait for a connection.
    read_timeout
        Seconds to wait for the next bytes of an answer.
    request_timeout
        Seconds for one request with its answer; no limit of its own by default.
    deadline
        Seconds for an operation with all its retries.
    max_attempts
        How often a request is sent before its failure is reported (it was called ``attempts``).
    first_wait, longest_wait
        Seconds: the ceiling of the first wait before a repetition, which doubles up to the longest.
    max_connections
        Open connections per event loop.
    max_redirects
        How many redirects of the server are followed.
    proxy
        Address of a proxy; without it the environment's ``HTTP_PROXY``, ``HTTPS_PROXY`` and
        ``NO_PROXY`` apply.
    ignore_environment
        Use no proxy of the environment.
    ca_file
        Path of certificates to trust instead of the system's.
    allow_invalid_certificates
        Do not check the server's certificate.
    forbidden_is_missing
        Take status 403 for a missing object. Object stores say so about missing objects to
        those who may not list a bucket.
    """

    base_url: str = field(converter=_address)
    headers: Mapping[str, str] = field(factory=dict, converter=_texts, repr=False)
    bearer_token: str | None = field(default=None, repr=False)
    username: str | None = field(default=None)
    password: str | None = field(default=None, repr=False)
    opts: Mapping[str, str] = field(factory=dict, converter=_texts, repr=False)
    user_agent: str | None = None
    connect_timeout: float = field(default=5.0, validator=_positive, metadata={"tuned_by": "connect_timeout"})
    read_timeout: float = field(default=30.0, validator=_positive, metadata={"tuned_by": "read_timeout"})
    request_timeout: float | None = field(
        default=None, validator=_positive, metadata={"tuned_by": "attempt_timeout"}
    )
    deadline: float = field(default=120.0, validator=_positive, metadata={"tuned_by": "total_timeout"})
    max_attempts: int = field(
        default=5, validator=_positive, metadata={"formerly": ("attempts",), "tuned_by": "attempts"}
    )
    first_wait: float = field(default=0.1, validator=_not_negative, metadata={"tuned_by": "first_wait"})
    longest_wait: float = field(default=5.0, validator=_not_negative, metadata={"tuned_by": "longest_wait"})
    max_connections: int = field(default=64, validator=_positive)
    max_redirects: int = 10
    proxy: str | None = field(default=None, repr=False)
    ignore_environment: bool = False
    ca_file: str | None = None
    allow_invalid_certificates: bool = False
    forbidden_is_missing: bool = False

    def __attrs_post_init__(self) -> None:
        if self.bearer_token is not None and self.username is not None:
            raise StorageConfigError(
                "the options 'bearer_token' and 'username' exclude each other; choose one"
            )
        if self.password is not None and self.username is None:
            raise StorageConfigError("the option 'password' needs 'username'")

    @property
    def location(self) -> str:
        """The address."""
        return self.base_url


@frozen
class RedirectConfig:
    """Who tells where a repository is.

    Attributes
    ----------
    base_url
        Address that answers with a redirect to a storage URL, such as ``s3://bucket/prefix`` or
        ``https+icechunk://host/path``.
    headers
        Sent with the requests for the redirect, not to the storage.
    bearer_token
        Sent as ``Authorization: Bearer ...`` with those requests.
    user_agent
        What the client calls itself in those requests.
    deadline
        Seconds for finding out, with all retries.
    """

    base_url: str = field(converter=_redirecting, repr=lambda value: repr(value.partition("?")[0]))
    headers: Mapping[str, str] = field(factory=dict, converter=_texts, repr=False)
    bearer_token: str | None = field(default=None, repr=False)
    user_agent: str | None = None
    deadline: float = field(default=30.0, validator=_positive)

    @property
    def location(self) -> str:
        """The address, without its query, which may hold secrets."""
        return self.base_url.partition("?")[0]
