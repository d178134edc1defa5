"""Credentials, redirects and proxies: what is sent to whom, and what is never shown."""

from __future__ import annotations

import base64
import pickle
from pathlib import Path

import pytest

from icechunk_core.clock import SystemClock
from icechunk_core.contract import Range
from icechunk_core.errors import IcechunkError, PermissionDenied, StorageConfigError
from icechunk_core.ids import SystemIds
from icechunk_core.plugins import open_storage
from icechunk_core.storage import http_storage, storage_from_url
from icechunk_http._config import HttpConfig
from icechunk_http._proxies import proxy_for
from icechunk_http._requests import Requests
from tests.backends.http.server import Answer, Request, WebServer, web_server
from tests.backends.http.support import opened

SECRET = "hunter2-hunter2"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_followed(web: WebServer, status: int) -> None:
    """An object may lie elsewhere on the server; ranges and credentials go along."""
    (web.root / "elsewhere").write_bytes(b"0123456789")

    def script(request: Request) -> Answer | None:
        return Answer(status, {"Location": "/elsewhere"}) if request.path == "/a" else None

    web.script = script
    async with opened(web.url, bearer_token=SECRET) as storage:
        assert bytes((await storage.get_range("a", Range(2, 5)))[0]) == b"234"
        assert (await storage.head("a")).size == 10
    assert all(each.headers["authorization"] == f"Bearer {SECRET}" for each in web.requests)


async def test_credentials_stay_at_home(web: WebServer, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Another host that the server redirects to gets the request without any header of the user's."""
    other = tmp_path_factory.mktemp("other")
    (other / "a").write_bytes(b"data")
    with web_server(other) as stranger:
        web.script = lambda request: Answer(302, {"Location": stranger.url + request.path})
        async with opened(web.url, headers={"x-api-key": SECRET}, bearer_token=SECRET) as storage:
            assert bytes((await storage.get_range("a"))[0]) == b"data"
        assert SECRET in str(web.requests[0].headers)
        assert SECRET not in str(stranger.requests)


async def test_https_is_not_left(web: WebServer) -> None:
    """A redirect from https to http is refused."""

    requests = Requests(HttpConfig(base_url="https://host"), SystemClock(), SystemIds())
    with pytest.raises(PermissionDenied, match="from https to http"):
        requests._target("https://host/a", "http://host/a", "a")
    await requests.close()


async def test_basic_authentication_from_the_url(web: WebServer) -> None:
    """``http://user:password@host/`` signs requests, and the password is not part of the address."""
    (web.root / "a").write_bytes(b"data")
    host = web.url.removeprefix("http://")
    storage = storage_from_url(f"http://some%40one:{SECRET}@{host}")
    assert await storage.exists("a")
    await storage.close()
    expected = base64.b64encode(f"some@one:{SECRET}".encode()).decode()
    assert web.requests[0].headers["authorization"] == f"Basic {expected}"
    assert SECRET not in repr(storage)


async def test_secrets_are_not_shown(web: WebServer) -> None:
    """No secret is in a repr, an error or a message; a pickled storage still has them."""
    web.script = lambda request: Answer(401)
    storage = http_storage(
        web.url, headers={"authorization": SECRET}, opts={"proxy_url": f"http://u:{SECRET}@p"}
    )
    assert SECRET not in repr(storage)
    plain = storage_from_url(web.url, headers={"x-key": SECRET}, bearer_token=SECRET)
    with pytest.raises(IcechunkError) as caught:
        await plain.head("a")
    assert SECRET not in str(caught.value)
    copy = pickle.loads(pickle.dumps(plain))
    assert copy == plain
    with pytest.raises(IcechunkError):
        await copy.head("a")
    assert web.requests[-1].headers["x-key"] == SECRET
    await plain.close()
    await copy.close()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"base_url": "ftp://host"}, "https://host/path"),
        ({"base_url": "https://"}, "https://host/path"),
        ({"base_url": f"https://me:{SECRET}@host"}, "username"),
        ({"base_url": f"https://host/?token={SECRET}"}, "headers"),
        ({"bearer_token": SECRET, "username": "me"}, "choose one"),
        ({"password": SECRET}, "needs 'username'"),
        ({"headers": {"x": f"{SECRET}\r\nInjected: 1"}}, "line break"),
        ({"read_timeout": 0}, "greater than 0"),
        ({"opts": {"time_out": "5s"}}, "did you mean 'timeout'"),
        ({"opts": {"timeout": SECRET}}, "'30s'"),
        ({"opts": {"allow_http": "false"}}, "allow_http"),
        ({"ca_file": "/no/such/file"}, "ca_file"),
    ],
)
def test_wrong_options(options: dict[str, object], told: str) -> None:
    """A wrong option is named, with what to write instead, and without its value where it may be secret."""
    given = {"scheme": "http", "base_url": "http://host", **options}
    with pytest.raises(StorageConfigError, match=told) as caught:
        open_storage(given)
    assert SECRET not in str(caught.value)


async def test_opts_of_object_store(web: WebServer) -> None:
    """Options under object_store's names have their meaning."""
    (web.root / "a").write_bytes(b"data")
    names = {"timeout": "1m 30s", "connect_timeout": "500ms", "user_agent": "me/1", "http1_only": "true"}
    storage = http_storage(web.url, opts=names)
    assert await storage.exists("a")
    await storage.close()
    assert web.requests[0].headers["user-agent"] == "me/1"


def test_which_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The option, else the environment's for the scheme unless the host is excepted, else none."""
    config = HttpConfig(base_url="http://host")
    assert proxy_for("http://host/a", config) is None
    monkeypatch.setenv("http_proxy", "http://proxy:3128")
    monkeypatch.setenv("https_proxy", "secure:3128")
    monkeypatch.setenv("no_proxy", "internal.example,127.0.0.1")
    assert proxy_for("http://host/a", config) == "http://proxy:3128"
    assert proxy_for("https://host/a", config) == "http://secure:3128"
    assert proxy_for("http://internal.example/a", config) is None
    assert proxy_for("http://127.0.0.1:80/a", config) is None
    assert proxy_for("http://host/a", HttpConfig(base_url="http://host", proxy="http://own")) == "http://own"
    assert proxy_for("http://host/a", HttpConfig(base_url="http://host", ignore_environment=True)) is None


async def test_requests_go_through_the_proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy of the environment gets the whole address; with credentials in its own address, those too."""
    with web_server(tmp_path) as proxy:
        proxy.script = lambda request: Answer(200, {}, b"by proxy")
        host = proxy.url.removeprefix("http://")
        monkeypatch.setenv("http_proxy", f"http://me:{SECRET}@{host}")
        async with opened("http://repository.example/path") as storage:
            assert bytes((await storage.get_range("a"))[0]) == b"by proxy"
        assert proxy.requests[0].path == "http://repository.example/path/a"
        assert proxy.requests[0].headers["proxy-authorization"].startswith("Basic ")
