"""Credentials: values that hide their secrets, and functions that refuse two ways at once."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from icechunk_core.credentials import (
    AzureCredentials,
    AzureRefreshableCredential,
    AzureStaticCredentials,
    Credentials,
    GcsBearerCredential,
    GcsCredentials,
    GcsStaticCredentials,
    HttpAccess,
    LocalFileSystemAccess,
    S3Credentials,
    S3StaticCredentials,
    azure_credentials,
    azure_refreshable_credentials,
    azure_static_credentials,
    containers_credentials,
    gcs_credentials,
    gcs_refreshable_credentials,
    gcs_static_credentials,
    s3_credentials,
    s3_refreshable_credentials,
)
from icechunk_core.errors import ErrorKind, InvalidInputError

SECRET = "hunter2-very-secret"
LATER = datetime(2030, 1, 1, tzinfo=UTC)


def new_s3() -> S3StaticCredentials:
    """A refresh function, as users write them."""
    return S3StaticCredentials("key", SECRET)


def new_gcs() -> GcsBearerCredential:
    """A refresh function, as users write them."""
    return GcsBearerCredential(SECRET, expires_after=LATER)


def new_azure() -> AzureRefreshableCredential:
    """A refresh function, as users write them."""
    return AzureRefreshableCredential.SasToken(SECRET, expires_after=LATER)  # type: ignore[return-value]


WITH_SECRETS = [
    S3StaticCredentials("key", SECRET, SECRET, LATER),
    S3Credentials("key", SECRET),
    S3Credentials.Static(S3StaticCredentials("key", SECRET)),
    s3_refreshable_credentials(new_s3, scatter_initial_credentials=True),
    GcsBearerCredential(SECRET),
    GcsStaticCredentials.ServiceAccountKey(SECRET),
    GcsCredentials.Static(GcsStaticCredentials.BearerToken(SECRET)),
    gcs_refreshable_credentials(new_gcs, scatter_initial_credentials=True),
    AzureCredentials.Static(AzureStaticCredentials.AccessKey(SECRET)),
    AzureCredentials.Static(AzureStaticCredentials.SasToken(SECRET)),
    AzureCredentials.Static(AzureStaticCredentials.BearerToken(SECRET)),
    AzureRefreshableCredential.AccessKey(SECRET),
    AzureRefreshableCredential.BearerToken(SECRET, expires_after=LATER),
    azure_refreshable_credentials(new_azure, scatter_initial_credentials=True),
    Credentials.S3(s3_credentials(access_key_id="key", secret_access_key=SECRET)),
]


@pytest.mark.parametrize("credentials", WITH_SECRETS, ids=lambda each: type(each).__qualname__)
def test_values_hide_secrets_and_pickle(credentials: Any) -> None:
    """The secret is in the pickle, or the storage could not be used elsewhere, but not in the text."""
    assert SECRET not in repr(credentials)
    assert SECRET not in str(credentials)
    assert pickle.loads(pickle.dumps(credentials)) == credentials


def test_s3_credentials_can_be_called() -> None:
    """``S3Credentials(key, secret, token)`` is the static member of the family."""
    made = S3Credentials(access_key_id="key", secret_access_key=SECRET, session_token="t")
    assert made == S3Credentials.Static(S3StaticCredentials("key", SECRET, "t"))
    assert made.credentials.session_token == "t"


@pytest.mark.parametrize(
    ("family", "member"),
    [
        (S3Credentials, S3Credentials.FromEnv()),
        (GcsCredentials, GcsCredentials.Anonymous()),
        (AzureCredentials, AzureCredentials.FromEnv()),
        (AzureStaticCredentials, AzureStaticCredentials.SasToken("t")),
        (Credentials, LocalFileSystemAccess),
    ],
)
def test_members_are_instances_of_their_family(family: type, member: object) -> None:
    """As in icechunk, ``isinstance(member, family)`` holds, and no other family has it."""
    assert isinstance(member, family)
    others = {S3Credentials, GcsCredentials, AzureCredentials, AzureStaticCredentials, Credentials} - {family}
    assert not any(isinstance(member, other) for other in others)


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (s3_credentials(), S3Credentials.FromEnv()),
        (s3_credentials(from_env=True), S3Credentials.FromEnv()),
        (s3_credentials(anonymous=True), S3Credentials.Anonymous()),
        (
            s3_credentials(access_key_id="k", secret_access_key="s", expires_after=LATER),
            S3Credentials.Static(S3StaticCredentials("k", "s", None, LATER)),
        ),
        (gcs_credentials(), GcsCredentials.FromEnv()),
        (gcs_credentials(anonymous=True), GcsCredentials.Anonymous()),
        (
            gcs_credentials(service_account_file="/f"),
            GcsCredentials.Static(GcsStaticCredentials.ServiceAccount("/f")),
        ),
        (
            gcs_credentials(application_credentials="/f"),
            GcsCredentials.Static(GcsStaticCredentials.ApplicationCredentials("/f")),
        ),
        (azure_credentials(), AzureCredentials.FromEnv()),
        (azure_credentials(anonymous=True), AzureCredentials.Anonymous()),
        (
            azure_credentials(bearer_token="t"),
            AzureCredentials.Static(AzureStaticCredentials.BearerToken("t")),
        ),
    ],
)
def test_one_way_of_authenticating(made: Any, expected: Any) -> None:
    """Without arguments from the environment, otherwise what was asked for."""
    assert made == expected


def test_refresh_functions_are_called_when_needed() -> None:
    """The function travels pickled; ``fetch`` calls it."""
    assert s3_credentials(get_credentials=new_s3).fetch() == new_s3()  # type: ignore[union-attr]
    assert gcs_credentials(get_credentials=new_gcs).fetch() == new_gcs()  # type: ignore[union-attr]
    assert azure_credentials(get_credentials=new_azure).fetch() == new_azure()  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "call",
    [
        lambda: s3_credentials(access_key_id="a"),
        lambda: s3_credentials(secret_access_key=SECRET),
        lambda: s3_credentials(session_token=SECRET),
        lambda: s3_credentials(anonymous=True, get_credentials=new_s3),
        lambda: s3_credentials(access_key_id="a", secret_access_key=SECRET, from_env=True),
        lambda: s3_credentials(from_env=False),
        lambda: s3_credentials(get_credentials=lambda: S3StaticCredentials("key", SECRET)),
        lambda: s3_credentials(get_credentials=5),  # type: ignore[arg-type]
        lambda: gcs_credentials(bearer_token=SECRET, from_env=True),
        lambda: gcs_credentials(from_env=False),
        gcs_static_credentials,
        lambda: gcs_static_credentials(bearer_token=SECRET, service_account_key=SECRET),
        lambda: azure_credentials(access_key=SECRET, anonymous=True),
        lambda: azure_credentials(from_env=False),
        azure_static_credentials,
        lambda: azure_static_credentials(access_key=SECRET, sas_token=SECRET),
        lambda: containers_credentials({"s3://b/": "key:secret"}),  # type: ignore[dict-item]
    ],
)
def test_two_ways_or_half_of_one_are_refused(call: Callable[[], Any]) -> None:
    """A ValueError of a stable kind, without the secrets that were passed."""
    with pytest.raises(InvalidInputError) as caught:
        call()
    assert isinstance(caught.value, ValueError)
    assert caught.value.kind == ErrorKind.INVALID_CREDENTIALS
    assert SECRET not in str(caught.value)


def test_containers_get_credentials_of_any_service() -> None:
    """Each credential is put under the member for its service; ready ones and None stay."""
    s3, gcs, azure = s3_credentials(), gcs_credentials(), azure_credentials()
    assert containers_credentials(
        {
            "s3://b/": s3,
            "gs://b/": gcs,
            "az://b/": azure,
            "file:///d/": LocalFileSystemAccess,
            "http://h/": HttpAccess,
            "file:///e/": None,
        }
    ) == {
        "s3://b/": Credentials.S3(s3),
        "gs://b/": Credentials.Gcs(gcs),
        "az://b/": Credentials.Azure(azure),
        "file:///d/": Credentials.LocalFileSystemAccess(),
        "http://h/": Credentials.HttpAccess(),
        "file:///e/": None,
    }
