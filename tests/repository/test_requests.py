"""What a repository's requests say about themselves, and authorisations that leave it open who asks."""

from __future__ import annotations

import asyncio
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import icechunk_core as ic
from icechunk_core.errors import IcechunkError
from icechunk_core.repository.requesting import requesting_as, user_agent_of
from icechunk_core.storage import with_faults, with_metrics
from tests.backends.http.server import WebServer, web_server

LABELS = ic.Attribution(client="weatherlib/0.9", workload="nightly run", principal="me")
TEXT = f"weatherlib/0.9 icechunk-core/{ic.__version__} (workload=nightly run; principal=me)"


def test_the_text() -> None:
    """As Icechunk writes it: the client first, then the library, then the other labels."""
    assert user_agent_of(LABELS) == TEXT
    assert user_agent_of(ic.Attribution(workload="w")) == f"icechunk-core/{ic.__version__} (workload=w)"


BACKENDS: dict[str, Callable[[str], Any]] = {
    "http": ic.http_storage,
    "s3": lambda url: ic.s3_storage(
        bucket="b", prefix="p", endpoint_url=url, allow_http=True, region="us-east-1", anonymous=True
    ),
    "gcs": lambda url: ic.storage_from_url("gs://bucket/prefix", endpoint_url=url, anonymous=True),
    "azure": lambda url: ic.storage_from_url(
        "az://container/prefix", endpoint_url=f"{url}/account", account="account", anonymous=True
    ),
}


@pytest.mark.parametrize("backend", BACKENDS)
async def test_every_request_carries_the_labels(tmp_path: Path, backend: str) -> None:
    """A server sees who asks, whichever backend asks it."""
    web: WebServer
    with web_server(tmp_path) as web:
        storage = requesting_as(BACKENDS[backend](web.url), LABELS)
        with pytest.raises(IcechunkError):
            await storage.get_range("repo")
        await storage.close()
        assert web.requests
        assert all(each.headers["user-agent"].startswith(TEXT) for each in web.requests)


def test_through_the_repository(tmp_path: Path) -> None:
    """`Repository.open` takes the labels; they survive pickling, and wrappers stay around the storage."""
    ic.Repository.create(tmp_path / "repo")
    with web_server(tmp_path) as web:
        counted, _ = with_metrics(ic.http_storage(f"{web.url}/repo"))
        repo = ic.Repository.open(counted, attribution=LABELS)
        web.requests.clear()
        pickle.loads(pickle.dumps(repo)).lookup_branch("main")
        assert {each.headers["user-agent"] for each in web.requests} == {TEXT}


def test_storages_without_requests_stay_as_they_are() -> None:
    """Memory, directories, and storages that cannot be opened anew are used as they were given."""
    memory = ic.in_memory_storage()
    scripted, _ = with_faults(ic.http_storage("https://example.org"))
    for storage in (memory, scripted):
        assert requesting_as(storage, LABELS) is storage
    assert requesting_as(memory, None) is memory
    assert ic.Repository.create(memory, attribution=LABELS).storage is memory


@pytest.mark.parametrize(
    ("prefix", "explicit"),
    [
        ("s3://b/", "S3Credentials.FromEnv"),
        ("gs://b/", "GcsCredentials.FromEnv"),
        ("az://b/", "AzureCredentials.FromEnv"),
        ("file:///d/", "LocalFileSystemAccess"),
        ("https://h/", "HttpAccess"),
    ],
)
def test_none_is_deprecated(prefix: str, explicit: str) -> None:
    """``None`` for a prefix warns, where the caller's code is, and says what to write instead."""
    allowed: dict[str, Any] = {prefix: None}
    repo = ic.Repository.create("memory:")

    async def in_a_loop() -> None:
        await ic.Repository.create_async("memory:", None, allowed)

    for call in (
        lambda: ic.Repository.create("memory:", None, allowed),
        lambda: ic.Repository.open(repo.storage, None, allowed),
        lambda: ic.Repository.open_or_create("memory:", None, allowed),
        lambda: repo.reopen(None, allowed),
        lambda: asyncio.run(in_a_loop()),
    ):
        with pytest.warns(DeprecationWarning, match=explicit) as caught:
            call()
        assert [warning.filename for warning in caught] == [__file__]


def test_explicit_credentials_do_not_warn() -> None:
    """Nor do other values, or no authorisation at all."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for allowed in (
            None,
            {},
            {"https://h/": ic.Credentials.HttpAccess()},
            {"s3://b/": {"anonymous": True}},
        ):
            ic.Repository.create("memory:", None, allowed)
