"""Configuration of Azure Blob Storage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import field, frozen

from icechunk_core.contract.credentials import AzureCredentials
from icechunk_core.contract.errors import StorageConfigError

__all__ = ["AnyAzureCredential", "AzureConfig"]

AnyAzureCredential = (
    AzureCredentials.FromEnv
    | AzureCredentials.Anonymous
    | AzureCredentials.Static
    | AzureCredentials.Refreshable
)

_MIB = 1 << 20
_LARGEST = 4000 * _MIB
"""Bytes of a block: the service's rule. One put may have somewhat more."""


def _positive(instance: object, attribute: Any, value: float) -> None:
    if not value > 0:
        raise StorageConfigError(f"the option {attribute.name!r} must be greater than 0, not {value!r}")


def _not_negative(instance: object, attribute: Any, value: float) -> None:
    if value < 0:
        raise StorageConfigError(f"the option {attribute.name!r} must not be negative, not {value!r}")


def _positive_if_any(instance: object, attribute: Any, value: float | None) -> None:
    if value is not None:
        _positive(instance, attribute, value)


def _prefix(value: Any) -> str:
    if value is not None and not isinstance(value, str):
        raise StorageConfigError("the option 'prefix' must be text")
    return (value or "").strip("/")


def _texts(value: Any) -> Mapping[str, str]:
    """As sorted pairs would do, but a mapping that compares by value and pickles."""
    if value is None:
        return {}
    if not isinstance(value, Mapping) or not all(
        isinstance(each, str) for pair in value.items() for each in pair
    ):
        raise StorageConfigError("the option 'config' must be a mapping of texts")
    return dict(value)


@frozen
class AzureConfig:
    """Which container to open, and how.

    Attributes
    ----------
    container, prefix
        Where the objects are; no prefix is the whole container.
    account
        Name of the storage account; else from the endpoint, the connection string or the variable
        ``AZURE_STORAGE_ACCOUNT_NAME``.
    credentials
        How to authenticate, as a value of `icechunk_core.credentials`. The next five options are
        other ways of saying the same; at most one is given. With none, the environment is asked
        (see ``from_env``).
    access_key, sas_token, bearer_token
        A fixed credential.
    connection_string
        What the Azure portal gives; it names the account, the key or SAS token, and the endpoint.
    anonymous
        Do not sign requests: public containers.
    from_env
        The variables ``AZURE_STORAGE_CONNECTION_STRING``, ``AZURE_STORAGE_ACCOUNT_KEY``,
        ``AZURE_STORAGE_SAS_TOKEN`` and ``AZURE_STORAGE_TOKEN``, in this order, then whatever the
        package ``azure-identity`` finds (managed identity, workload identity, ``az login``).
    endpoint_url
        Of the blob service, with the account in its path where it is no subdomain
        (``http://127.0.0.1:10000/devstoreaccount1``).
    allow_http
        Allow an ``http://`` endpoint on another machine. On this one it is always allowed.
    emulator
        Azurite on this machine, with its published account and key.
    config
        Options by the names that Icechunk's ``azure_storage(config=...)`` takes.
    storage_class
        Access tier of new objects (``Hot``, ``Cool``, ``Cold``); none is the account's.
    read_only
        Refuse all writes.
    hierarchical
        The account has a hierarchical namespace (Data Lake Storage Gen2).
    lean
        Send plain reads and small puts without the SDK, for a fraction of the processor time.
    user_agent
        What the client calls itself.
    connect_timeout, read_timeout
        Seconds to wait for a connection, and for the next bytes of an answer.
    max_attempts, deadline
        Attempts at one request, and seconds after which none is begun (they were called
        ``max_tries`` and ``retry_deadline``).
    first_wait, longest_wait
        Seconds: the ceiling of the first wait before a repetition, which doubles up to the longest.
    attempt_timeout, total_timeout
        Seconds for one request with its answer, and for a request with its repetitions, whatever it
        transfers; no limits of their own by default.
    concurrency
        Connections of one event loop.
    single_put, block_size
        Bytes up to which an object is one request, and of the blocks of larger ones.
    part_size
        Bytes of one request of a large bounded read; its parts are read in parallel.
    parallel
        Blocks or parts of one object that are under way at once.
    """

    container: str = ""
    prefix: str = field(default="", converter=_prefix)
    account: str | None = None
    credentials: AnyAzureCredential | None = None
    access_key: str | None = field(default=None, repr=False)
    sas_token: str | None = field(default=None, repr=False)
    bearer_token: str | None = field(default=None, repr=False)
    connection_string: str | None = field(default=None, repr=False)
    anonymous: bool = False
    from_env: bool = False
    endpoint_url: str | None = field(default=None, metadata={"endpoint": True})
    allow_http: bool = False
    emulator: bool = False
    config: Mapping[str, str] = field(factory=dict, converter=_texts, repr=False)
    storage_class: str | None = None
    read_only: bool = False
    hierarchical: bool = False
    lean: bool = True
    user_agent: str | None = None
    connect_timeout: float = field(default=5.0, validator=_positive, metadata={"tuned_by": "connect_timeout"})
    read_timeout: float = field(default=30.0, validator=_positive, metadata={"tuned_by": "read_timeout"})
    max_attempts: int = field(
        default=6, validator=_positive, metadata={"formerly": ("max_tries",), "tuned_by": "attempts"}
    )
    deadline: float = field(
        default=45.0,
        validator=_positive,
        metadata={"formerly": ("retry_deadline",), "tuned_by": "total_timeout"},
    )
    first_wait: float = field(default=0.1, validator=_not_negative, metadata={"tuned_by": "first_wait"})
    longest_wait: float = field(default=5.0, validator=_not_negative, metadata={"tuned_by": "longest_wait"})
    attempt_timeout: float | None = field(
        default=None, validator=_positive_if_any, metadata={"tuned_by": "attempt_timeout"}
    )
    total_timeout: float | None = field(
        default=None, validator=_positive_if_any, metadata={"tuned_by": "total_timeout"}
    )
    concurrency: int = field(default=64, validator=_positive)
    single_put: int = field(
        default=16 * _MIB,
        validator=_positive,
        metadata={"tuned_by": "multipart_threshold", "at_least": 1, "at_most": _LARGEST},
    )
    block_size: int = field(
        default=8 * _MIB, validator=_positive, metadata={"tuned_by": "part_size", "at_most": _LARGEST}
    )
    part_size: int = field(default=8 * _MIB, validator=_positive, metadata={"tuned_by": "part_size"})
    parallel: int = field(default=6, validator=_positive, metadata={"tuned_by": "concurrent_parts"})

    @property
    def location(self) -> str:
        """The URL, and who is asked, as far as the options tell."""
        url = f"az://{self.container}/{self.prefix}".rstrip("/")
        service = self.endpoint_url or (f"account {self.account!r}" if self.account else None)
        return url if service is None else f"{url} at {service.partition('?')[0]}"
