"""One fixture a server: started on first use, stopped at the end of the run."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.servers.catalogue import SERVERS, running
from tests.servers.process import MissingServerError

__all__ = ["SERVERS_REQUIRED"]

SERVERS_REQUIRED = os.environ.get("ICECHUNK_REQUIRE_SERVERS") == "1"
"""Set by ``make test`` and in CI: a server that is not installed fails there."""


def _fixture(name: str) -> Callable[..., Any]:
    @pytest.fixture(scope="session", name=name)
    def server() -> Iterator[Any]:
        try:
            context = running(name)
            running_server = context.__enter__()
        except MissingServerError as error:
            if SERVERS_REQUIRED:
                raise
            pytest.skip(str(error))
        try:
            yield running_server
        finally:
            context.__exit__(None, None, None)

    server.__doc__ = f"The server {name}, running."
    return server


globals().update({f"_{name}_fixture": _fixture(name) for name in SERVERS})
