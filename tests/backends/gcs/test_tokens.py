"""Credentials: found, renewed once however many wait, never shown."""

from __future__ import annotations

import asyncio
import json
import threading
import warnings
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from icechunk_core.clock import SystemClock
from icechunk_core.contract import Storage
from icechunk_core.contract.errors import StorageConfigError, StorageError, Unauthenticated
from icechunk_core.credentials import GcsBearerCredential, gcs_refreshable_credentials
from icechunk_core.storage import storage_from_url
from icechunk_gcs._config import GcsConfig
from icechunk_gcs._settings import settings_of
from icechunk_gcs._tokens import Tokens
from tests.backends.gcs.scripted import Answer, Asked, ScriptedServer, json_error, stored

SECRET = "ya29.a-token-to-keep"
Open = Callable[..., Storage]

_calls: list[int] = []
_lock = threading.Lock()
_lifetime = timedelta(hours=1)


def numbered() -> GcsBearerCredential:
    """A function that renews a token, counting its calls."""
    with _lock:
        _calls.append(1)
        return GcsBearerCredential(f"token-{len(_calls)}", expires_after=datetime.now(UTC) + _lifetime)


def ended() -> GcsBearerCredential:
    """A token that has ended already."""
    with _lock:
        _calls.append(1)
        return GcsBearerCredential(f"ended-{len(_calls)}", expires_after=datetime(2020, 1, 1, tzinfo=UTC))


def endless() -> GcsBearerCredential:
    """A token without an end."""
    return GcsBearerCredential(f"endless-{len(_calls)}")


def failing() -> GcsBearerCredential:
    """A function with a mistake."""
    raise RuntimeError("no vault")


def wrong() -> Any:
    """A function that returns something else."""
    return SECRET


def broken_token() -> GcsBearerCredential:
    """A token that no header can hold."""
    return GcsBearerCredential(f"{SECRET}\n")


@pytest.fixture(autouse=True)
def no_calls() -> None:
    """Every test counts from 0."""
    _calls.clear()


def authorizations(server: ScriptedServer) -> list[str | None]:
    """What the requests were signed with."""
    return [asked.headers.get("authorization") for asked in server.asked]


async def test_a_stampede_renews_once(open_gcs: Open, server: ScriptedServer) -> None:
    """Sixteen requests at the same time on a new storage: one call of the function."""
    server.answers(stored(b"x"))
    storage = open_gcs(credentials=gcs_refreshable_credentials(numbered))
    await asyncio.gather(*(storage.get_range("k") for _ in range(16)))
    assert len(_calls) == 1
    assert set(authorizations(server)) == {"Bearer token-1"}


async def test_a_token_that_ended_is_renewed(open_gcs: Open, server: ScriptedServer) -> None:
    """Before it is used again, not after it was refused."""
    server.answers(stored(b"x"))
    storage = open_gcs(credentials=gcs_refreshable_credentials(ended))
    await storage.get_range("k")
    await storage.get_range("k")
    assert len(authorizations(server)) == 2
    assert len(_calls) >= 2


async def test_a_refused_token_is_renewed_once_for_all(open_gcs: Open, server: ScriptedServer) -> None:
    """All requests that were refused with the old one are repeated with the same new one."""

    def script(asked: Asked) -> Answer:
        fresh = asked.headers.get("authorization") == "Bearer token-2"
        return stored(b"x") if fresh else json_error(401, "Invalid Credentials")

    server.script = script
    storage = open_gcs(credentials=gcs_refreshable_credentials(numbered))
    await asyncio.gather(*(storage.get_range("k") for _ in range(16)))
    assert len(_calls) == 2
    await storage.get_range("k")
    assert len(_calls) == 2


async def test_a_token_that_stays_refused_is_an_error(open_gcs: Open, server: ScriptedServer) -> None:
    """After one renewal; a fixed one at once."""
    server.answers(json_error(401, "Invalid Credentials"))
    with pytest.raises(Unauthenticated, match="expired"):
        await open_gcs(credentials=gcs_refreshable_credentials(numbered)).get_range("k")
    assert len(server.asked) == 2
    with pytest.raises(Unauthenticated, match="expired"):
        await open_gcs(bearer_token="fixed").get_range("k")
    assert len(server.asked) == 3


async def test_the_first_token_travels_along(open_gcs: Open, server: ScriptedServer) -> None:
    """Fetched when the storage was made, it is used until it ends."""
    server.answers(stored(b"x"))
    credentials = gcs_refreshable_credentials(numbered, scatter_initial_credentials=True)
    assert len(_calls) == 1
    storage = open_gcs(credentials=credentials)
    await storage.get_range("k")
    assert len(_calls) == 1
    assert authorizations(server) == ["Bearer token-1"]


@pytest.mark.parametrize(
    ("function", "error", "text"),
    [
        (failing, Unauthenticated, "RuntimeError"),
        (wrong, StorageConfigError, "GcsBearerCredential"),
        (broken_token, StorageConfigError, "line breaks"),
    ],
)
async def test_a_function_with_a_mistake_is_named(
    open_gcs: Open, function: Callable[[], Any], error: type[StorageError], text: str
) -> None:
    """As the cause of an error of the storage, without what it returned."""
    with pytest.raises(error, match=text) as raised:
        await open_gcs(credentials=gcs_refreshable_credentials(function)).get_range("k")
    assert SECRET not in str(raised.value)


# --- Google's own credentials ------------------------------------------------


@pytest.fixture(scope="module")
def private_key() -> str:
    """A key as it stands in a service account's file."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return key.private_bytes(encoding, form, serialization.NoEncryption()).decode()


@pytest.fixture
def account(private_key: str, server: ScriptedServer) -> dict[str, str]:
    """A service account whose tokens the scripted server gives."""

    def script(asked: Asked) -> Answer:
        if asked.path != "/token":
            return stored(b"x")
        assertion = parse_qs(asked.body.decode())["grant_type"]
        assert assertion == ["urn:ietf:params:oauth:grant-type:jwt-bearer"]
        return Answer(200, {}, json.dumps({"access_token": "from-google", "expires_in": 3600}).encode())

    server.script = script
    return {
        "type": "service_account",
        "client_email": "robot@project.iam.gserviceaccount.com",
        "private_key_id": "1",
        "private_key": private_key,
        "token_uri": f"{server.endpoint}/token",
    }


@pytest.mark.parametrize("way", ["file", "text", "application", "environment"])
async def test_service_accounts_and_default_credentials(
    open_gcs: Open,
    server: ScriptedServer,
    account: dict[str, str],
    way: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every way of naming one gives the same token, fetched once for many requests."""
    path = tmp_path / "account.json"
    path.write_text(json.dumps(account))
    if way == "environment":
        # Found credentials are not sent over http, so this one is looked at without a request.
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))
        tokens = Tokens(settings_of(GcsConfig("bucket", endpoint_url="https://gcs.test")), SystemClock())
        assert await asyncio.to_thread(tokens.headers) == {"authorization": "Bearer from-google"}
        return
    options = {
        "file": {"service_account_file": str(path)},
        "text": {"service_account_key": json.dumps(account)},
        "application": {"application_credentials": str(path)},
    }[way]
    storage = open_gcs(**options)
    await asyncio.gather(*(storage.get_range("k") for _ in range(8)))
    assert [asked.path for asked in server.asked].count("/token") == 1
    assert {asked.headers.get("authorization") for asked in server.asked if asked.path != "/token"} == {
        "Bearer from-google"
    }


async def test_an_account_that_google_refuses(
    open_gcs: Open, server: ScriptedServer, account: dict[str, str]
) -> None:
    """A clock that is wrong, or a deleted account: what to check, at once, and no key in the text."""
    server.answers(Answer(400, {}, b'{"error": "invalid_grant", "error_description": "Invalid JWT"}'))
    with pytest.raises(Unauthenticated, match="clock") as raised:
        await open_gcs(service_account_key=json.dumps(account)).get_range("k")
    assert "PRIVATE KEY" not in str(raised.value)
    assert len(server.asked) == 1


@pytest.mark.parametrize("option", ["service_account_file", "application_credentials"])
async def test_a_file_that_is_no_credentials(open_gcs: Open, option: str, tmp_path: Path) -> None:
    """Malformed ones are named, missing ones too."""
    path = tmp_path / "account.json"
    path.write_text('{"type": "service_account"}')
    for wrong in (path, tmp_path / "missing.json"):
        with pytest.raises(StorageConfigError, match=wrong.name if wrong != path else "credentials|key"):
            await open_gcs(**{option: str(wrong)}).get_range("k")


async def test_without_credentials_it_says_what_to_do(lean: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing is found in the environment."""
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.setenv("CLOUDSDK_CONFIG", "/nowhere")
    storage = storage_from_url("gs://bucket", lean=lean)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(Unauthenticated, match="anonymous=True"):
            await storage.get_range("k")
    await storage.close()
