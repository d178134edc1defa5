"""Places where the files are that references point into."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.virtual.places import Place, in_directory, on_s3, on_web_server


@pytest.fixture(params=["directory", "web server", "S3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """The files at one place after the other."""
    with ExitStack() as stack:
        if request.param == "directory":
            yield stack.enter_context(in_directory(tmp_path / "files"))
        elif request.param == "web server":
            yield stack.enter_context(on_web_server(tmp_path / "files"))
        else:
            yield stack.enter_context(on_s3(request.getfixturevalue("ministack")))


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Place]:
    """The files in a directory."""
    with in_directory(tmp_path / "files") as found:
        yield found
