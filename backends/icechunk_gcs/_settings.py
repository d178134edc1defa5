"""What a configuration comes to: one endpoint, one credential, one set of headers."""

from __future__ import annotations

import ipaddress
import json
import os
import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from attrs import evolve, field, frozen

from icechunk_core.contract.credentials import AnyGcsCredential, GcsCredentials, GcsStaticCredentials
from icechunk_core.errors import StorageConfigError
from icechunk_core.plugins.secrets import secret_texts
from icechunk_gcs._config import GcsConfig

__all__ = ["GOOGLE", "Settings", "check_token", "settings_of"]

_HEADER = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
GOOGLE = "https://storage.googleapis.com"


@frozen
class Settings:
    """A configuration with all that it leaves to others filled in.

    Attributes
    ----------
    config
        The configuration, in which ``config`` (options by other names) has been applied.
    endpoint
        URL without path or trailing slash.
    credential
        The one way of authenticating.
    read_headers, write_headers
        Extra headers by role.
    acl
        Predefined ACL of new objects (``x-goog-acl`` among the headers says so).
    xml
        Whether to read by the XML protocol.
    secrets
        Texts that no message may show.
    """

    config: GcsConfig
    endpoint: str
    credential: AnyGcsCredential
    read_headers: Mapping[str, str] = field(repr=False)
    write_headers: Mapping[str, str] = field(repr=False)
    acl: str | None
    xml: bool
    secrets: frozenset[str] = field(repr=False)

    def object_name(self, key: str) -> str:
        """The name in the bucket of a key, or of the beginning of keys."""
        return f"{self.config.prefix}/{key}" if self.config.prefix else key


def settings_of(config: GcsConfig) -> Settings:
    """Work out what a configuration means. No I/O but reading a service account's file.

    Raises
    ------
    StorageConfigError
        If parts of it contradict one another.
    """
    secrets = frozenset(secret_texts(config))
    config = _with_other_names(config)
    credential = _one_credential(config)
    endpoint, credential = _endpoint(config, credential)
    check_token(getattr(getattr(credential, "credentials", None), "token", "x"))
    both = _headers("headers", config.headers)
    write = {**both, **_headers("write_headers", config.write_headers)}
    acl = write.pop("x-goog-acl", None)
    return Settings(
        config=config,
        endpoint=endpoint,
        credential=credential,
        read_headers={**both, **_headers("read_headers", config.read_headers)},
        write_headers=write,
        acl=None if acl is None else re.sub(r"-(\w)", lambda match: match[1].upper(), acl),
        xml=config.reads == "xml" or (config.reads == "auto" and _is_google(endpoint)),
        secrets=secrets,
    )


def _headers(option: str, given: Mapping[str, str] | None) -> dict[str, str]:
    headers = {name.lower(): value for name, value in (given or {}).items()}
    for name, value in headers.items():
        if not _HEADER.fullmatch(value):
            raise StorageConfigError(f"the option {option!r}: the value of {name!r} is no header's")
    return headers


# --- options by the names of Icechunk's own client ---------------------------


def _flag(text: str) -> bool:
    return text.strip().lower() in ("true", "1", "yes", "on")


_SECONDS = {"": 1.0, "s": 1.0, "sec": 1.0, "second": 1.0, "ms": 0.001, "m": 60.0, "min": 60.0, "minute": 60.0}


def _duration(text: str) -> float:
    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]*)?)\s*([a-z]*)\s*", text.lower())
    unit = match[2] if match else "?"
    seconds = _SECONDS.get(unit, _SECONDS.get(unit.removesuffix("s")))
    if match is None or seconds is None:
        raise StorageConfigError(f"the option 'config': {text!r} is no duration such as 30s")
    return float(match[1]) * seconds


_OTHER_NAMES: dict[str, tuple[str, Callable[[str], Any]]] = {
    "base_url": ("endpoint_url", str),
    "service_account": ("service_account_file", str),
    "service_account_path": ("service_account_file", str),
    "service_account_key": ("service_account_key", str),
    "application_credentials": ("application_credentials", str),
    "skip_signature": ("anonymous", _flag),
    "allow_http": ("allow_http", _flag),
    "timeout": ("read_timeout", _duration),
    "connect_timeout": ("connect_timeout", _duration),
}


def _with_other_names(config: GcsConfig) -> GcsConfig:
    changes: dict[str, Any] = {}
    for name, value in (config.config or {}).items():
        plain = name.lower().removeprefix("google_")
        if plain not in _OTHER_NAMES:
            known = ", ".join(sorted(_OTHER_NAMES))
            raise StorageConfigError(f"the option 'config' has {name!r}; what is understood is {known}")
        option, convert = _OTHER_NAMES[plain]
        changes[option] = convert(value)
    return evolve(config, **changes) if changes else config


# --- credentials -------------------------------------------------------------


def _one_credential(config: GcsConfig) -> AnyGcsCredential:
    static = GcsStaticCredentials
    ways: dict[str, AnyGcsCredential | None] = {
        "credentials": config.credentials,
        "anonymous": GcsCredentials.Anonymous() if config.anonymous else None,
        "from_env": GcsCredentials.FromEnv() if config.from_env else None,
        "service_account_file": _fixed(static.ServiceAccount, config.service_account_file),
        "service_account_key": _fixed(static.ServiceAccountKey, config.service_account_key),
        "application_credentials": _fixed(static.ApplicationCredentials, config.application_credentials),
        "bearer_token": _fixed(static.BearerToken, config.bearer_token),
    }
    given = {name: way for name, way in ways.items() if way is not None}
    if given.keys() == {"credentials", "anonymous"} and isinstance(
        config.credentials, GcsCredentials.FromEnv
    ):
        # What constructors pass on when nothing else was said.
        del given["credentials"]
    if len(given) > 1:
        raise StorageConfigError(
            f"{' and '.join(given)} are several ways of authenticating; give one of them"
        )
    return next(iter(given.values()), GcsCredentials.FromEnv())


def _fixed(kind: Callable[[str], Any], value: str | None) -> AnyGcsCredential | None:
    return None if value is None else GcsCredentials.Static(kind(value))


def check_token(token: str) -> str:
    """A token that can stand in a header.

    Raises
    ------
    StorageConfigError
        If it cannot; without showing it.
    """
    if not re.fullmatch(r"[\x21-\x7e]+", token):
        raise StorageConfigError(
            "the bearer token is empty or has spaces, line breaks or other characters in it"
        )
    return token


# --- endpoint ----------------------------------------------------------------


def _endpoint(config: GcsConfig, credential: AnyGcsCredential) -> tuple[str, AnyGcsCredential]:
    base, unsigned = _said_by_service_account(credential)
    endpoint = config.endpoint_url or base or GOOGLE
    if unsigned:
        credential = GcsCredentials.Anonymous()
    parts = urlsplit(endpoint)
    if parts.scheme == "https":
        return endpoint, credential
    allowed = config.allow_http or _is_here(parts.hostname or "") or _is_emulator(endpoint)
    if not allowed:
        raise StorageConfigError(f"{endpoint} is an http:// address; set allow_http to send data unencrypted")
    if isinstance(credential, GcsCredentials.FromEnv):
        # A token that was found, not given, does not travel in the open.
        credential = GcsCredentials.Anonymous()
    return endpoint, credential


def _said_by_service_account(credential: AnyGcsCredential) -> tuple[str | None, bool]:
    """An emulator's address and whether to leave requests unsigned: extensions of service account files."""
    inner = credential.credentials if isinstance(credential, GcsCredentials.Static) else None
    try:
        if isinstance(inner, GcsStaticCredentials.ServiceAccount):
            with open(os.path.expanduser(inner.path), encoding="utf-8") as file:
                said = json.load(file)
        elif isinstance(inner, GcsStaticCredentials.ServiceAccountKey):
            said = json.loads(inner.key)
        else:
            return None, False
    except OSError as error:
        raise StorageConfigError(
            f"cannot read the service account's file {getattr(inner, 'path', '')!r} ({error.strerror})"
        ) from None
    except ValueError:
        raise StorageConfigError("the service account's key is no JSON; pass the text of its file") from None
    if not isinstance(said, dict):
        raise StorageConfigError("the service account's key is no JSON object; pass the text of its file")
    base = said.get("gcs_base_url")
    return (str(base).rstrip("/") if base else None), bool(said.get("disable_oauth"))


def _is_google(endpoint: str) -> bool:
    return (urlsplit(endpoint).hostname or "").endswith(".googleapis.com")


def _is_here(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_emulator(endpoint: str) -> bool:
    said = os.environ.get("STORAGE_EMULATOR_HOST", "").rstrip("/")
    return bool(said) and endpoint in (said, f"http://{said}")
