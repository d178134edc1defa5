"""The plugin: ``http://host/path``, ``https://host/path``, and ``redirect:https://host/path``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, unquote

from icechunk_core.contract import BackendSpec, hookimpl
from icechunk_http import _capabilities
from icechunk_http._config import HttpConfig, RedirectConfig

if TYPE_CHECKING:
    from icechunk_http._redirect import RedirectStorage
    from icechunk_http._storage import HttpStorage

__all__ = ["icechunk_backends"]

_INSTALL = "pip install 'icechunk-core[http]'"


def _http_from_url(url: SplitResult) -> Mapping[str, Any]:
    user, at, host = url.netloc.rpartition("@")
    options: dict[str, Any] = {"base_url": f"{url.scheme}://{host}{url.path}"}
    if at:
        name, _, password = user.partition(":")
        options |= {"username": unquote(name), "password": unquote(password)}
    return options


def _redirect_from_url(url: SplitResult) -> Mapping[str, Any]:
    # redirect:https://host/path has no authority of its own; what follows the colon is its path.
    return {"base_url": url.path if not url.netloc else f"https://{url.netloc}{url.path}"}


def _make_http(config: HttpConfig) -> HttpStorage:
    from icechunk_http._storage import HttpStorage

    return HttpStorage(config)


def _make_redirect(config: RedirectConfig) -> RedirectStorage:
    from icechunk_http._redirect import RedirectStorage

    return RedirectStorage(config)


@hookimpl
def icechunk_backends() -> Iterable[BackendSpec]:
    return [
        BackendSpec(
            name="http",
            schemes=("http", "https"),
            config=HttpConfig,
            capabilities=_capabilities.HTTP,
            factory=_make_http,
            options_from_url=_http_from_url,
            install_hint=_INSTALL,
        ),
        BackendSpec(
            name="redirect",
            schemes=("redirect",),
            config=RedirectConfig,
            capabilities=_capabilities.REDIRECT,
            factory=_make_redirect,
            options_from_url=_redirect_from_url,
            install_hint=_INSTALL,
        ),
    ]
