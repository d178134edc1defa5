"""The functions for logs and for versions."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

import icechunk_core
from icechunk_core import logs


@pytest.fixture(autouse=True)
def _quiet_again() -> Iterator[None]:
    yield
    icechunk_core.shutdown_telemetry()
    icechunk_core.set_logs_filter("warn")


def _enabled(name: str, level: int) -> bool:
    return logging.getLogger(name).isEnabledFor(level)


def test_a_level_for_everything() -> None:
    """A level alone is for all of the library."""
    icechunk_core.set_logs_filter("info")
    assert _enabled("icechunk_core.session", logging.INFO)
    assert not _enabled("icechunk_core.session", logging.DEBUG)


def test_a_level_for_one_module() -> None:
    """A module's level is for it and what is below it; the rest has the other one."""
    icechunk_core.set_logs_filter("icechunk::session=trace,error")
    assert _enabled("icechunk_core.session.commit", logs.TRACE)
    assert not _enabled("icechunk_core.store", logging.WARNING)


def test_the_next_filter_replaces_the_last() -> None:
    """What a filter set for a module is gone with the next filter."""
    icechunk_core.set_logs_filter("icechunk_core.session=debug")
    icechunk_core.set_logs_filter("error")
    assert not _enabled("icechunk_core.session", logging.WARNING)


def test_unknown_levels_are_refused() -> None:
    """A misspelt level is an error that names the known ones, and changes nothing."""
    icechunk_core.set_logs_filter("debug")
    with pytest.raises(icechunk_core.InvalidInputError, match=r"loud.*trace, debug"):
        icechunk_core.set_logs_filter("loud")
    assert _enabled("icechunk_core", logging.DEBUG)


def test_no_filter_means_the_environments(monkeypatch: pytest.MonkeyPatch) -> None:
    """`None` takes the filter from ``ICECHUNK_LOG``."""
    monkeypatch.setenv("ICECHUNK_LOG", "debug")
    icechunk_core.set_logs_filter(None)
    assert _enabled("icechunk_core", logging.DEBUG)


def test_messages_go_to_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Once initialised, messages that pass the filter are printed, once, until it is shut down."""
    monkeypatch.setenv("ICECHUNK_LOG", "info")
    monkeypatch.setenv("ICECHUNK_LOG_TO_STDOUT", "1")
    icechunk_core.initialize_logs()
    icechunk_core.initialize_logs()
    logger = logging.getLogger("icechunk_core.session")
    logger.info("something happened")
    logger.debug("in detail")
    icechunk_core.shutdown_telemetry()
    logger.info("afterwards")
    printed = capsys.readouterr().out
    assert printed.count("something happened") == 1
    assert "in detail" not in printed
    assert "afterwards" not in printed


def test_versions(capsys: pytest.CaptureFixture[str]) -> None:
    """Versions name the library, the format's newest version first, and the installed backends."""
    assert icechunk_core.user_agent() == f"icechunk-core-{icechunk_core.__version__}"
    assert icechunk_core.spec_version() == icechunk_core.SpecVersion.v2
    assert icechunk_core.supported_spec_versions() == [2, 1]
    icechunk_core.print_debug_info()
    printed = capsys.readouterr().out
    assert f"icechunk_core:  {icechunk_core.__version__}" in printed
    assert "memory" in printed
