"""Redirect storage: a web server tells where a repository is."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import zarr

import icechunk_core
from icechunk_core.errors import Closed, ErrorKind, NotFound, ReadOnly, StorageConfigError, StorageError
from icechunk_core.storage import redirect_storage
from icechunk_http._redirect import storage_url
from tests.backends.http.server import Answer, Request, WebServer
from tests.backends.http.test_repositories import VALUES, write_repository
from tests.interop.implementations import load_peer

GO = "/go?dataset=1"


def lead(web: WebServer, *targets: str) -> None:
    """``/go`` leads to the last target, over web addresses before it."""
    steps = [GO, *(f"/step{number}" for number in range(len(targets) - 1))]
    answers = dict(zip(steps, targets, strict=True))

    def script(request: Request) -> Answer | None:
        target = answers.get(request.path)
        return None if target is None else Answer(302, {"Location": target})

    web.script = script


def target(web: WebServer) -> str:
    """The repository of the test, as a redirect names it."""
    return f"http+icechunk://{web.url.removeprefix('http://')}/repo"


@pytest.mark.parametrize("hops", [0, 1])
def test_the_repository_is_found(web: WebServer, hops: int) -> None:
    """The redirect is followed, over other web addresses too, and the storage it names is read; once."""
    write_repository(icechunk_core, web.root / "repo", 2)
    lead(web, *["/step0"][:hops], target(web))
    repo = icechunk_core.Repository.open(redirect_storage(web.url + GO))
    array = zarr.open_array(repo.readonly_session(tag="v1").store, path="group/array", mode="r")
    assert (array[:] == VALUES).all()
    assert [each.path for each in web.requests].count(GO) == 1
    copy = pickle.loads(pickle.dumps(repo))
    assert copy.lookup_tag("v1") == repo.lookup_tag("v1")


def test_as_the_peer_follows(web: WebServer) -> None:
    """The same address leads Icechunk's redirect storage to the same repository."""
    peer = load_peer()
    write_repository(icechunk_core, web.root / "repo", 2)
    lead(web, "/step0", target(web))
    theirs = peer.Repository.open(peer.redirect_storage(web.url + GO))
    ours = icechunk_core.Repository.open(redirect_storage(web.url + GO))
    assert theirs.lookup_branch("main") == ours.lookup_branch("main")


@pytest.mark.parametrize(
    "place", ["file:///etc", "memory:x", "ftp://host/x", "sqlite:///x", "s3://b/p?endpoint_url=http://evil"]
)
async def test_where_a_server_may_not_lead(web: WebServer, place: str) -> None:
    """A server cannot make its readers open their own files or send credentials elsewhere."""
    lead(web, place)
    storage = redirect_storage(web.url + GO)
    with pytest.raises(StorageError) as caught:
        await storage.get_range("repo")
    assert caught.value.kind == ErrorKind.BAD_REDIRECT
    await storage.close()


def test_where_it_may_lead() -> None:
    """Object stores with harmless options, and web servers under the peer's names."""
    for url in ("s3://bucket/prefix?region=eu-west-1", "gs://bucket/prefix", "az://container/prefix"):
        assert storage_url(url, "https://asks") == url
    assert storage_url("https+icechunk://host/p", "https://asks") == "https://host/p"


@pytest.mark.parametrize("answer", [None, Answer(200, {}, b"page"), Answer(404)])
async def test_no_redirect(web: WebServer, answer: Answer | None) -> None:
    """An answer without a redirect says what was expected, and shows no query."""
    web.script = lambda request: answer
    storage = redirect_storage(web.url + GO + "&token=hunter2")
    with pytest.raises((StorageError, NotFound)) as caught:
        await storage.head("repo")
    assert "hunter2" not in str(caught.value) + repr(storage)
    await storage.close()


async def test_for_reading(web: WebServer) -> None:
    """Nothing is written behind a redirect; a closed storage says so."""
    storage = redirect_storage(web.url + GO)
    with pytest.raises(ReadOnly, match="its own URL"):
        await storage.put("a", b"data")
    with pytest.raises(ReadOnly):
        await storage.delete(["a"])
    await storage.close()
    for call in (storage.head("a"), storage.put("a", b"x"), storage.get_range("a")):
        with pytest.raises(Closed):
            await call


def test_addresses(tmp_path: Path) -> None:
    """``redirect:https://host/path`` is the storage URL; addresses that are none are refused."""
    assert icechunk_core.storage_from_url("redirect:https://host/path") == redirect_storage(
        "https://host/path"
    )
    for bad in ("s3://bucket", str(tmp_path), "https://me:pw@host"):
        with pytest.raises(StorageConfigError):
            redirect_storage(bad)
