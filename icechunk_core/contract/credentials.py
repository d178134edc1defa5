"""Credentials of storage services, as values that backends receive in their configuration.

Secrets never appear in a ``repr``. Values are compared by content, and pickle: who pickles
a storage with static credentials sends them along.
"""

from __future__ import annotations

import pickle
from datetime import datetime
from html import escape
from typing import TYPE_CHECKING, Any, TypeAlias

from attrs import field, frozen

__all__ = [
    "AnyAzureCredential",
    "AnyAzureStaticCredential",
    "AnyCredential",
    "AnyGcsCredential",
    "AnyGcsStaticCredential",
    "AnyS3Credential",
    "AzureCredentials",
    "AzureRefreshableCredential",
    "AzureStaticCredentials",
    "Credentials",
    "GcsBearerCredential",
    "GcsCredentials",
    "GcsStaticCredentials",
    "S3Credentials",
    "S3StaticCredentials",
]


def _call(pickled_function: bytes) -> Any:
    """Credentials from a function that the user gave, pickled by this library in this configuration."""
    return pickle.loads(pickled_function)()


class _Family(type):
    """A class that is a namespace of its members, whose instances count as its own."""

    def __instancecheck__(cls, instance: object) -> bool:
        return type(instance) in vars(cls).values()


# --- S3 ----------------------------------------------------------------------


@frozen
class S3StaticCredentials:
    """An access key of an S3 service, perhaps temporary.

    Attributes
    ----------
    access_key_id, secret_access_key
        The key.
    session_token
        Of temporary credentials.
    expires_after
        When they stop being valid.
    """

    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)
    expires_after: datetime | None = None

    def _repr_html_(self) -> str:
        return f"<pre>{escape(repr(self))}</pre>"


class _S3Family(_Family):
    """Makes ``S3Credentials(access_key_id, secret_access_key)`` the static member of the family."""

    def __call__(cls, *arguments: Any, **keywords: Any) -> S3Credentials.Static:
        return S3Credentials.Static(S3StaticCredentials(*arguments, **keywords))


class S3Credentials(metaclass=_S3Family):
    """How to sign requests to an S3 service: one of the members.

    Called with ``access_key_id, secret_access_key, session_token=None`` it makes a `Static`.
    """

    if TYPE_CHECKING:  # for type checkers, which do not look at the metaclass

        def __init__(
            self,
            access_key_id: str,
            secret_access_key: str,
            session_token: str | None = None,
            expires_after: datetime | None = None,
        ) -> None: ...

    @frozen
    class FromEnv:
        """Whatever the environment has: variables, files, the machine's role."""

    @frozen
    class Anonymous:
        """Unsigned requests, for public buckets."""

    @frozen
    class Static:
        """One given key."""

        credentials: S3StaticCredentials

    @frozen
    class Refreshable:
        """A pickled function that returns `S3StaticCredentials`, and perhaps the first of them."""

        pickled_function: bytes = field(repr=False)
        current: S3StaticCredentials | None = field(default=None, repr=False)

        def fetch(self) -> S3StaticCredentials:
            """Call the function."""
            fetched: S3StaticCredentials = _call(self.pickled_function)
            return fetched


AnyS3Credential: TypeAlias = (
    S3Credentials.FromEnv | S3Credentials.Anonymous | S3Credentials.Static | S3Credentials.Refreshable
)
"""Any of `S3Credentials`."""


# --- Google ------------------------------------------------------------------


@frozen
class GcsBearerCredential:
    """An OAuth token for Google Cloud Storage, perhaps with an end.

    Attributes
    ----------
    bearer
        The token.
    expires_after
        From when on it is no longer valid; ``None`` if that is not known.
    """

    bearer: str = field(repr=False)
    expires_after: datetime | None = field(default=None, kw_only=True)


class GcsStaticCredentials(metaclass=_Family):
    """A fixed credential for Google Cloud Storage: one of the members."""

    @frozen
    class ServiceAccount:
        """Path of a service account's JSON file."""

        path: str

    @frozen
    class ServiceAccountKey:
        """A service account's JSON text."""

        key: str = field(repr=False)

    @frozen
    class ApplicationCredentials:
        """Path of an application default credentials file."""

        path: str

    @frozen
    class BearerToken:
        """An OAuth token."""

        token: str = field(repr=False)


AnyGcsStaticCredential: TypeAlias = (
    GcsStaticCredentials.ServiceAccount
    | GcsStaticCredentials.ServiceAccountKey
    | GcsStaticCredentials.ApplicationCredentials
    | GcsStaticCredentials.BearerToken
)
"""Any of `GcsStaticCredentials`."""


class GcsCredentials(metaclass=_Family):
    """How to authenticate with Google Cloud Storage: one of the members."""

    @frozen
    class FromEnv:
        """Whatever the environment has."""

    @frozen
    class Anonymous:
        """Unsigned requests, for public buckets."""

    @frozen
    class Static:
        """A fixed credential."""

        credentials: AnyGcsStaticCredential

    @frozen
    class Refreshable:
        """A pickled function that returns `GcsBearerCredential`, and perhaps the first of them."""

        pickled_function: bytes = field(repr=False)
        current: GcsBearerCredential | None = field(default=None, repr=False)

        def fetch(self) -> GcsBearerCredential:
            """Call the function."""
            fetched: GcsBearerCredential = _call(self.pickled_function)
            return fetched


AnyGcsCredential: TypeAlias = (
    GcsCredentials.FromEnv | GcsCredentials.Anonymous | GcsCredentials.Static | GcsCredentials.Refreshable
)
"""Any of `GcsCredentials`."""


# --- Azure -------------------------------------------------------------------


class AzureStaticCredentials(metaclass=_Family):
    """A fixed credential for Azure Blob Storage: one of the members."""

    @frozen
    class AccessKey:
        """An account's access key."""

        key: str = field(repr=False)

    @frozen
    class SasToken:
        """A shared access signature."""

        token: str = field(repr=False)

    @frozen
    class BearerToken:
        """An OAuth token."""

        token: str = field(repr=False)


AnyAzureStaticCredential: TypeAlias = (
    AzureStaticCredentials.AccessKey | AzureStaticCredentials.SasToken | AzureStaticCredentials.BearerToken
)
"""Any of `AzureStaticCredentials`."""


class AzureRefreshableCredential(metaclass=_Family):
    """What a refresh function for Azure returns: one of the members, perhaps with an end."""

    @frozen
    class AccessKey:
        """An account's access key."""

        key: str = field(repr=False)
        expires_after: datetime | None = field(default=None, kw_only=True)

    @frozen
    class SasToken:
        """A shared access signature."""

        token: str = field(repr=False)
        expires_after: datetime | None = field(default=None, kw_only=True)

    @frozen
    class BearerToken:
        """An OAuth token."""

        bearer: str = field(repr=False)
        expires_after: datetime | None = field(default=None, kw_only=True)


class AzureCredentials(metaclass=_Family):
    """How to authenticate with Azure Blob Storage: one of the members."""

    @frozen
    class FromEnv:
        """Whatever the environment has."""

    @frozen
    class Anonymous:
        """Unsigned requests, for public containers."""

    @frozen
    class Static:
        """A fixed credential."""

        credentials: AnyAzureStaticCredential

    @frozen
    class Refreshable:
        """A pickled function that returns an `AzureRefreshableCredential`, and perhaps the first of them."""

        pickled_function: bytes = field(repr=False)
        current: AzureRefreshableCredential | None = field(default=None, repr=False)

        def fetch(self) -> AzureRefreshableCredential:
            """Call the function."""
            fetched: AzureRefreshableCredential = _call(self.pickled_function)
            return fetched


AnyAzureCredential: TypeAlias = (
    AzureCredentials.FromEnv
    | AzureCredentials.Anonymous
    | AzureCredentials.Static
    | AzureCredentials.Refreshable
)
"""Any of `AzureCredentials`."""


# --- any service -------------------------------------------------------------


class Credentials(metaclass=_Family):
    """Credentials of any service, for virtual chunk containers: one of the members."""

    @frozen
    class S3:
        """For an S3 service."""

        credentials: AnyS3Credential

    @frozen
    class Gcs:
        """For Google Cloud Storage."""

        credentials: AnyGcsCredential

    @frozen
    class Azure:
        """For Azure Blob Storage."""

        credentials: AnyAzureCredential

    @frozen
    class LocalFileSystemAccess:
        """Allows reading local files, which needs no credentials."""

    @frozen
    class HttpAccess:
        """Allows reading from web servers, which needs no credentials."""


AnyCredential: TypeAlias = (
    Credentials.S3
    | Credentials.Gcs
    | Credentials.Azure
    | Credentials.LocalFileSystemAccess
    | Credentials.HttpAccess
)
"""Any of `Credentials`."""
