"""The backend on Azurite: what the conformance checks do not ask."""

from __future__ import annotations

import asyncio
import base64
import pickle
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from azure.storage.blob import ContainerSasPermissions, generate_container_sas

from icechunk_core.contract import IF_ABSENT, IfVersion, Range, Suffix
from icechunk_core.contract.credentials import AzureCredentials, AzureRefreshableCredential
from icechunk_core.contract.errors import (
    AlreadyExists,
    NotFound,
    PermissionDenied,
    StorageConfigError,
    Unauthenticated,
    VersionMismatch,
)
from icechunk_core.credentials import azure_refreshable_credentials
from tests.backends.azure.conftest import Open
from tests.servers.azure import ACCOUNT_KEY, AzureServer

# Azure says AuthenticationFailed where Azurite says AuthorizationFailure.
REFUSED = (Unauthenticated, PermissionDenied)


def _sas(server: AzureServer, container: str, hours: float = 1, permission: str = "racwdl") -> str:
    return generate_container_sas(
        server.account,
        container,
        server.account_key,
        permission=ContainerSasPermissions.from_string(permission),
        start=datetime.now(UTC) - timedelta(hours=2),
        expiry=datetime.now(UTC) + timedelta(hours=hours),
    )


async def test_large_objects_keep_their_conditions(open_azurite: Open) -> None:
    """An object that is uploaded in blocks is created and replaced under the same conditions, and a loser
    leaves it as it was."""
    storage = open_azurite(single_put=1000, block_size=1000)
    body = bytes(range(256)) * 20
    version = await storage.put("a", [body[:700], body[700:]], IF_ABSENT, {"a-b": "1"})
    with pytest.raises(AlreadyExists):
        await storage.put("a", body[::-1], IF_ABSENT)
    with pytest.raises(VersionMismatch):
        await storage.put("a", body[::-1], IfVersion(await storage.put("b", b"")))
    data, info = await storage.get_range("a")
    assert (bytes(data), info.version, info.metadata) == (body, version, {"a-b": "1"})
    await storage.put("a", body[::-1], IfVersion(version))
    assert bytes((await storage.get_range("a"))[0]) == body[::-1]
    await storage.close()


async def test_large_views_arrive_whole(open_azurite: Open, lean: bool) -> None:
    """A large object given as a view of wider items is sent in pieces, and is there byte for byte."""
    storage = open_azurite(lean=lean)
    body = bytes(range(256)) * 5000
    await storage.put("a", memoryview(body).cast("I"))
    data, info = await storage.get_range("a")
    assert (bytes(data), info.size) == (body, len(body))


async def test_racing_uploads_in_blocks(open_azurite: Open) -> None:
    """Writers whose blocks discard one another's all come to an end, and what is there is one's, whole."""
    storage = open_azurite(single_put=1000, block_size=1000)
    bodies = [bytes([65 + number]) * 5000 for number in range(4)]
    results = await asyncio.gather(
        *(storage.put("a", body, IF_ABSENT) for body in bodies), return_exceptions=True
    )
    won = [body for body, result in zip(bodies, results, strict=True) if not isinstance(result, Exception)]
    assert len(won) == 1
    assert all(isinstance(each, AlreadyExists) for each in results if isinstance(each, Exception))
    assert bytes((await storage.get_range("a"))[0]) == won[0]
    await storage.close()


async def test_large_ranges_are_read_in_parts(open_azurite: Open) -> None:
    """A large range is read in several requests at once, and is exactly its bytes."""
    storage = open_azurite(part_size=1000, parallel=3)
    body = bytes(range(250)) * 40
    await storage.put("a", body)
    for start, end in ((0, 10_000), (1, 9_999), (500, 3_501), (7_000, 20_000)):
        data, info = await storage.get_range("a", Range(start, end))
        assert bytes(data) == body[start:end]
        assert info.size == len(body)
    await storage.close()


async def test_ranges_in_parts_are_of_one_version(open_azurite: Open) -> None:
    """While the object is replaced again and again, a large range and a suffix are of one write."""
    storage = open_azurite(part_size=1000)
    await storage.put("a", b"A" * 9000)
    done = False

    async def replace() -> None:
        turn = 0
        while not done:
            turn += 1
            await storage.put("a", bytes([65 + turn % 20]) * 9000)

    writer = asyncio.ensure_future(replace())
    try:
        for _ in range(4):
            for part in (Range(0, 9000), Suffix(5000)):
                data, _ = await storage.get_range("a", part)
                assert len(set(bytes(data))) == 1
    finally:
        done = True
        await writer
        await storage.close()


async def test_names_beyond_the_basic_plane_are_in_order(open_azurite: Open) -> None:
    """Azurite lists by UTF-16 units; the storage by UTF-8 bytes, also where a listing continues."""
    storage = open_azurite()
    keys = [
        "a",
        "z\ue000a",
        "z\uff5a",
        "z\U0001d537",
        "z\U0001d537/b",
        "z\ufffd",
        "zz",
        "\U00010000",
        "\uffee",
    ]
    for key in keys:
        await storage.put(key, b"")
    expected = sorted(keys, key=str.encode)
    assert [info.key async for info in storage.list()] == expected
    for number, key in enumerate(expected):
        assert [info.key async for info in storage.list("", key)] == expected[number + 1 :]
    await storage.close()


async def test_copies(open_azurite: Open, lean: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy has bytes and metadata of its source; one too large for the service's copy, too."""
    storage = open_azurite(lean=lean)
    await storage.put("a ü%2F", b"body", metadata={"a-b": "1"})
    await storage.copy("a ü%2F", "b")
    monkeypatch.setattr("icechunk_azure._storage._LARGEST_COPY", 3)
    await storage.copy("a ü%2F", "c")
    for key in ("b", "c"):
        data, info = await storage.get_range(key)
        assert (bytes(data), info.metadata) == (b"body", {"a-b": "1"})
    with pytest.raises(NotFound):
        await storage.copy("missing", "d")
    await storage.close()


# --- credentials -------------------------------------------------------------


async def test_sas_tokens_work(azurite: AzureServer, container: str, open_azurite: Open, lean: bool) -> None:
    """Everything works with a SAS token of the container."""
    token = _sas(azurite, container)
    storage = open_azurite(lean=lean, access_key=None, sas_token="?" + token, single_put=1000)
    version = await storage.put("a b?ü", b"x" * 3000, IF_ABSENT)
    await storage.put("a b?ü", b"y", IfVersion(version))
    await storage.copy("a b?ü", "copy")
    assert [info.key async for info in storage.list()] == ["a b?ü", "copy"]
    assert bytes((await storage.get_range("copy"))[0]) == b"y"
    assert [each.error for each in await storage.delete(["copy", "a b?ü"])] == [None, None]
    await storage.close()


async def test_refused_credentials(
    azurite: AzureServer, container: str, open_azurite: Open, lean: bool
) -> None:
    """A wrong key, an expired token, one without the permission, and none are errors that tell which."""
    wrong = base64.b64encode(b"another key").decode()
    storage = open_azurite(lean=lean, access_key=wrong)
    with pytest.raises(REFUSED, match="the account's access key") as caught:
        await storage.head("a")
    assert wrong not in str(caught.value)
    await storage.close()
    storage = open_azurite(lean=lean, access_key=None, sas_token=_sas(azurite, container, hours=-1))
    with pytest.raises(REFUSED, match="a SAS token that is valid until"):
        await storage.get_range("a")
    await storage.close()
    reading = open_azurite(lean=lean, access_key=None, sas_token=_sas(azurite, container, permission="rl"))
    with pytest.raises(PermissionDenied):
        await reading.put("a", b"x")
    await reading.close()
    storage = open_azurite(lean=lean, access_key=None, anonymous=True)
    with pytest.raises((*REFUSED, NotFound), match="anonymous access"):
        await storage.get_range("a")
    await storage.close()


async def test_a_missing_container(azurite: AzureServer, lean: bool) -> None:
    """A container that does not exist is named, by reads, writes and listings, as what to check."""
    storage = azurite.storage("no-such-container", "p", lean=lean)
    with pytest.raises(StorageConfigError, match="no such container"):
        await storage.get_range("a")
    with pytest.raises(StorageConfigError, match="no such container"):
        await storage.put("a", b"")
    with pytest.raises(StorageConfigError, match="'no-such-container'"):
        [info async for info in storage.list()]
    await storage.close()


def _current_key() -> AzureRefreshableCredential.AccessKey:
    return AzureRefreshableCredential.AccessKey(ACCOUNT_KEY)


async def test_refreshed_credentials_pickle(open_azurite: Open, lean: bool) -> None:
    """A storage with a refresh function works, and so does its pickled copy."""
    storage = open_azurite(
        lean=lean, access_key=None, credentials=azure_refreshable_credentials(_current_key)
    )
    await storage.put("a", b"x")
    copy = pickle.loads(pickle.dumps(storage))
    assert bytes((await copy.get_range("a"))[0]) == b"x"
    await copy.close()
    await storage.close()


async def test_a_refused_credential_is_renewed(open_azurite: Open, lean: bool) -> None:
    """A credential that the service refuses is renewed, and the request repeated: a key was rotated."""
    wrong = AzureRefreshableCredential.AccessKey(base64.b64encode(b"the old key").decode())
    refreshable = azure_refreshable_credentials(_current_key)
    given = AzureCredentials.Refreshable(refreshable.pickled_function, wrong)
    storage = open_azurite(lean=lean, access_key=None, credentials=given)
    await storage.put("a", b"x", IF_ABSENT)
    assert bytes((await storage.get_range("a"))[0]) == b"x"
    await storage.close()


def _fail() -> Any:
    raise RuntimeError("the vault's password is hunter2")


async def test_a_failing_refresh(open_azurite: Open) -> None:
    """A refresh function that fails is an error that names its failure's type, not its text."""
    storage = open_azurite(access_key=None, credentials=azure_refreshable_credentials(_fail))
    with pytest.raises(Unauthenticated, match="RuntimeError") as caught:
        await storage.head("a")
    assert "hunter2" not in str(caught.value)
    await storage.close()
