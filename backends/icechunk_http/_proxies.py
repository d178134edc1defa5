"""Which proxy a request goes through."""

from __future__ import annotations

from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from icechunk_http._config import HttpConfig

__all__ = ["proxy_for"]


def proxy_for(address: str, config: HttpConfig) -> str | None:
    """The proxy of the configuration, else the environment's for this address, if there is one.

    Only proxies that speak HTTP are used; an address without a scheme is one of those.
    """
    if config.proxy is not None:
        return config.proxy
    if config.ignore_environment:
        return None
    parts = urlsplit(address)
    proxies = getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy or proxy_bypass(parts.netloc):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"
