"""Command lines, run in this process."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from icechunk_core.cli.app import run

Command = Callable[..., str]


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs a command line; gives what it printed. The exit code must be the expected one."""

    def call(*arguments: object, code: int = 0) -> str:
        capsys.readouterr()
        ended = run([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        assert ended == code, printed.err
        return printed.out + (printed.err if code else "")

    return call
