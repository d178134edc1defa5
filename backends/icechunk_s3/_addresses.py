"""Where a bucket's objects are, for requests that are made without the SDK.

Only the plain cases are known here. Everything else (access points, directory buckets, other
partitions, dual stack, proxies, endpoints from configuration files) is left to the SDK.
"""

from __future__ import annotations

import os
import re
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from icechunk_s3._config import S3Config

__all__ = ["plain_address"]

_PLAIN_BUCKET = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")
_PATH_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}")
_PLAIN_REGION = re.compile(r"(us|eu|ap|sa|ca|me|af|il|mx)-(?!gov)(?!iso)[a-z]+-\d")
_SPECIAL_SUFFIXES = ("--x-s3", "--ol-s3", "--table-s3", "-s3alias")
_SPECIAL_VARIABLES = (
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3",
    "AWS_USE_FIPS_ENDPOINT",
    "AWS_USE_DUALSTACK_ENDPOINT",
    "AWS_CA_BUNDLE",
    "REQUESTS_CA_BUNDLE",
)
_SPECIAL_SETTINGS = (
    "endpoint_url",
    "services",
    "use_fips_endpoint",
    "use_dualstack_endpoint",
    "ca_bundle",
    "s3",
)


def plain_address(config: S3Config, region: str, settings: dict[str, Any]) -> str | None:
    """URL of the bucket without a trailing slash; ``None`` if only the SDK knows it.

    Parameters
    ----------
    settings
        Of the profile, from the AWS configuration files.
    """
    url = _of_service(config) if config.address is not None else _of_amazon(config, region, settings)
    if url is None:
        return None
    parts = urlsplit(url)
    if parts.scheme == "https" and any(os.environ.get(name) for name in _SPECIAL_VARIABLES[-2:]):
        return None
    proxies = getproxies()
    if (parts.scheme in proxies or "all" in proxies) and not proxy_bypass(parts.netloc):
        return None
    return url


def _of_service(config: S3Config) -> str | None:
    assert config.address is not None
    address = config.address.rstrip("/")
    parts = urlsplit(address)
    if parts.query or parts.fragment or config.bucket.endswith(_SPECIAL_SUFFIXES):
        return None
    if config.path_style:
        return f"{address}/{config.bucket}" if _PATH_BUCKET.fullmatch(config.bucket) else None
    if not _PLAIN_BUCKET.fullmatch(config.bucket) or re.fullmatch(r"[\d.]+|\[.*", parts.hostname or ""):
        return None
    return f"{parts.scheme}://{config.bucket}.{parts.netloc}{parts.path}"


def _of_amazon(config: S3Config, region: str, settings: dict[str, Any]) -> str | None:
    special = any(os.environ.get(name) for name in _SPECIAL_VARIABLES) or any(
        name in settings for name in _SPECIAL_SETTINGS
    )
    if special or not _PLAIN_REGION.fullmatch(region) or config.bucket.endswith(_SPECIAL_SUFFIXES):
        return None
    if not _PLAIN_BUCKET.fullmatch(config.bucket):
        return None
    host = f"s3.{region}.amazonaws.com"
    return f"https://{host}/{config.bucket}" if config.path_style else f"https://{config.bucket}.{host}"
