"""The plugin: ``file:///absolute/path`` and ``file:relative/path``."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import SplitResult

from icechunk_core.contract import BackendSpec, hookimpl
from icechunk_core.contract.errors import StorageConfigError
from icechunk_filesystem._config import FilesystemConfig
from icechunk_filesystem._storage import CAPABILITIES, make_storage

__all__ = ["icechunk_backends"]


def _options_from_url(url: SplitResult) -> Mapping[str, Any]:
    if url.netloc not in ("", "localhost") and os.name != "nt":
        raise StorageConfigError(
            f"the URL names the host {url.netloc!r}; write file:///absolute/path or file:relative/path"
        )
    # With what it brings along, this import takes longer than the rest of the plugin.
    from urllib.request import url2pathname

    path = url.path if url.netloc in ("", "localhost") else f"//{url.netloc}{url.path}"
    return {"root": url2pathname(path)} if path else {}


@hookimpl
def icechunk_backends() -> Iterable[BackendSpec]:
    return [
        BackendSpec(
            name="filesystem",
            schemes=("file",),
            config=FilesystemConfig,
            capabilities=CAPABILITIES,
            factory=make_storage,
            options_from_url=_options_from_url,
        )
    ]
