"""Credentials: renewed once however many wait, from several event loops, and never shown."""

from __future__ import annotations

import asyncio
import threading
from datetime import UTC, datetime, timedelta

import pytest

from icechunk_core.clock import SystemClock, datetime_from_us
from icechunk_core.contract.credentials import S3Credentials, S3StaticCredentials
from icechunk_core.contract.errors import StorageConfigError, Unauthenticated
from icechunk_s3._config import S3Config
from icechunk_s3._credentials import RenewedCredentials
from tests.backends.s3.scripted import error, found, scripted

LEAN = pytest.mark.parametrize("lean", [True, False], ids=["lean", "sdk"])
FETCHED: list[str] = []


def renew() -> S3StaticCredentials:
    """Another key at each call."""
    FETCHED.append(f"renewed-{len(FETCHED) + 1}")
    return S3StaticCredentials(FETCHED[-1], "renewed-secret", "renewed-token")


def renew_for_a_moment() -> S3StaticCredentials:
    """A key that is about to end."""
    key = renew()
    end = datetime_from_us(SystemClock().now_us()) + timedelta(seconds=5)
    return S3StaticCredentials(key.access_key_id, key.secret_access_key, key.session_token, end)


def fail() -> S3StaticCredentials:
    """No key at all."""
    raise OSError("the vault says: hunter2")


@pytest.fixture(autouse=True)
def _nothing_fetched() -> None:
    FETCHED.clear()


@LEAN
async def test_a_stampede_renews_once(lean: bool) -> None:
    """Fifty requests at once need one call of the function; its key and token sign them all."""
    async with scripted(found(b"x")) as server:
        storage = server.storage(lean=lean, get_credentials=renew)
        await asyncio.gather(*(storage.get_range(f"key-{number}") for number in range(50)))
        await storage.close()
    assert FETCHED == ["renewed-1"]
    assert len(server.asked) == 50
    assert all("Credential=renewed-1/" in asked.headers["authorization"] for asked in server.asked)
    assert all(asked.headers["x-amz-security-token"] == "renewed-token" for asked in server.asked)


async def test_a_stampede_from_several_loops_renews_once() -> None:
    """Threads with an event loop each share one renewal."""
    begun, calls = threading.Barrier(4), []

    def slow() -> S3StaticCredentials:
        calls.append(threading.get_ident())
        release.wait(10)
        return S3StaticCredentials("id", "secret")

    release = threading.Event()
    source = RenewedCredentials(slow, None, SystemClock())

    async def use() -> list[S3StaticCredentials]:
        waiting = [asyncio.ensure_future(source.current()) for _ in range(10)]
        await asyncio.sleep(0)
        await asyncio.to_thread(begun.wait, 10)
        release.set()
        return await asyncio.gather(*waiting)

    results = await asyncio.gather(*(asyncio.to_thread(asyncio.run, use()) for _ in range(4)))
    assert {key.access_key_id for each in results for key in each} == {"id"}
    assert len(calls) == 1


@LEAN
async def test_what_ends_is_renewed_before(lean: bool) -> None:
    """A key that is about to end is not used: each request gets another."""
    async with scripted(found(b"x")) as server:
        storage = server.storage(lean=lean, get_credentials=renew_for_a_moment)
        await storage.get_range("a")
        await storage.get_range("b")
        await storage.close()
    assert [asked.headers["authorization"].split("/")[0].split("=")[1] for asked in server.asked] == [
        "renewed-1",
        "renewed-2",
    ]


@LEAN
async def test_what_the_server_calls_expired_is_renewed(lean: bool) -> None:
    """`ExpiredToken` leads to new credentials and another try; a second one is an error."""
    async with scripted(error(400, "ExpiredToken"), found(b"x")) as server:
        storage = server.storage(lean=lean, get_credentials=renew)
        await storage.get_range("key")
        server.answers[:] = [error(400, "ExpiredToken")]
        with pytest.raises(Unauthenticated, match="expired"):
            await storage.get_range("key")
        await storage.close()
    assert FETCHED == ["renewed-1", "renewed-2", "renewed-3"]


async def test_a_renewal_that_fails_is_reported_and_tried_anew() -> None:
    """The function's failure is `Unauthenticated`, without its text; the next request asks again."""
    async with scripted(found(b"x")) as server:
        storage = server.storage(get_credentials=fail)
        for _ in range(2):
            with pytest.raises(Unauthenticated, match="failed: OSError") as raised:
                await storage.get_range("key")
            assert "hunter2" not in str(raised.value)
        await storage.close()
    assert server.asked == []


async def test_wrong_things_from_the_function_are_reported() -> None:
    """A function that returns something else is told so."""
    source = RenewedCredentials(lambda: "key", None, SystemClock())  # type: ignore[arg-type,return-value]
    with pytest.raises(Unauthenticated, match="returned a str, not S3StaticCredentials"):
        await source.current()


@LEAN
async def test_environment(lean: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Key, secret and token of the environment sign the requests."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "from-the-environment")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "token")
    async with scripted(found(b"x")) as server:
        storage = server.storage(lean=lean, from_env=True)
        await storage.get_range("key")
        await storage.close()
    assert "Credential=from-the-environment/" in server.asked[0].headers["authorization"]
    assert server.asked[0].headers["x-amz-security-token"] == "token"


@LEAN
async def test_profile(lean: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    """The key of a named profile signs the requests, in its region."""
    from pathlib import Path

    folder = Path(str(tmp_path))
    (folder / "credentials").write_text("[mine]\naws_access_key_id=of-mine\naws_secret_access_key=s\n")
    (folder / "config").write_text("[profile mine]\nregion=eu-north-1\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(folder / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(folder / "config"))
    monkeypatch.delenv("AWS_ACCESS_KEY_ID", raising=False)
    async with scripted(found(b"x")) as server:
        storage = server.storage(lean=lean, from_env=True, region=None, credentials=None, profile="mine")
        await storage.get_range("key")
        await storage.close()
    authorization = server.asked[0].headers["authorization"]
    assert "Credential=of-mine/" in authorization
    assert "/eu-north-1/s3/" in authorization


def test_secrets_do_not_show() -> None:
    """No form of a configuration's text has a secret, a token or the value of a header."""
    config = S3Config(
        bucket="b",
        credentials=S3Credentials.Static(S3StaticCredentials("id", "the-secret", "the-token")),
        headers={"x-key": "the-header"},
    )
    plain = S3Config(
        bucket="b", access_key_id="id", secret_access_key="the-secret", session_token="the-token"
    )
    for text in (repr(config), str(config), repr(plain), f"{plain}"):
        assert not any(secret in text for secret in ("the-secret", "the-token", "the-header"))


@pytest.mark.parametrize(
    "options",
    [
        {"access_key_id": "a"},
        {"secret_access_key": "s"},
        {"access_key_id": "a", "secret_access_key": "s", "anonymous": True},
        {"anonymous": True, "profile": "p"},
        {"credentials": S3Credentials.Anonymous(), "anonymous": True},
    ],
)
def test_one_way_to_sign(options: dict[str, object]) -> None:
    """Half a key and two ways at once are refused."""
    with pytest.raises(StorageConfigError):
        S3Config(bucket="b", **options)  # type: ignore[arg-type]


def test_naive_ends_are_utc() -> None:
    """An end without a time zone is taken as UTC."""
    past = datetime(2020, 1, 1, tzinfo=UTC).replace(tzinfo=None)
    source = RenewedCredentials(renew, S3StaticCredentials("old", "s", None, past), SystemClock())
    assert asyncio.run(source.current()).access_key_id == "renewed-1"
