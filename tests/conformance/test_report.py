"""Levels, verdicts and the forms in which a report is shown."""

from __future__ import annotations

import json

import pytest
from attrs import evolve

from icechunk_conformance import Level, Location, Report, Result, Status, all_checks, run_suite
from icechunk_conformance.reference import REFERENCE, ReferenceStorage
from icechunk_conformance.table import print_report
from icechunk_conformance.transport import Transport
from icechunk_conformance.workers import WorkerPool
from icechunk_core.contract import AtomicityScope, Capabilities
from tests.conformance.support import ModestReference, ReadOnlyReference, SingleWriterReference

DURABLE = evolve(REFERENCE, durable=True)


def report_with(failed: str, capabilities: Capabilities = REFERENCE) -> Report:
    """A report in which all checks passed but those."""
    results = [
        Result(check, Status.FAILED if check.id in failed.split() else Status.PASSED, "the reason")
        for check in all_checks()
    ]
    return Report("a storage", capabilities, results, "small")


@pytest.mark.parametrize(
    ("failed", "level"),
    [
        ("", Level.PRODUCTION),
        ("J01 I05", Level.COMMIT_SAFE),
        ("H03", Level.COMMIT_SAFE),
        ("K01 M03", Level.COMMIT_SAFE),
        ("F04", Level.SINGLE_WRITER),
        ("G02", Level.SINGLE_WRITER),
        ("E02", Level.READ),
        ("E02 F01", Level.READ),
        ("D05", Level.NONE),
        ("A01", Level.NONE),
    ],
)
def test_a_level_needs_all_checks_of_its_groups(failed: str, level: Level) -> None:
    """The level is the highest whose groups have no failure; H to M count for Production only."""
    assert report_with(failed, DURABLE).level is level


@pytest.mark.parametrize(
    ("capabilities", "level"),
    [
        (REFERENCE, Level.COMMIT_SAFE),
        (evolve(REFERENCE, update=False), Level.SINGLE_WRITER),
        (evolve(REFERENCE, atomicity=AtomicityScope.NONE), Level.SINGLE_WRITER),
        (evolve(REFERENCE, read_only=True), Level.READ),
    ],
)
def test_a_level_needs_declared_capabilities(capabilities: Capabilities, level: Level) -> None:
    """What a storage does not declare it is not trusted with, though no check fails."""
    assert report_with("", capabilities).level is level


def test_the_verdict_says_why_no_more_is_given() -> None:
    """The level above is named, with what stands in its way."""
    text = "\n".join(report_with("").verdict())
    assert "Level: Commit-safe" in text
    assert (
        "Production is not given: it does not declare that an acknowledged write survives power loss" in text
    )
    text = "\n".join(report_with("F04", DURABLE).verdict())
    assert "Commit-safe is not given: failed: F04." in text


def test_production_takes_a_transport_that_was_examined() -> None:
    """Faults that could not be injected are no faults that were withstood; the verdict says which."""
    report = evolve(report_with("", DURABLE), transport=Transport.OUT_OF_REACH)
    assert report.level is Level.COMMIT_SAFE
    text = "\n".join(report.verdict())
    assert "Production is not given: no faults can be injected" in text
    assert "Ambiguous outcomes (G) were brought about around its hooks" in text
    assert evolve(report, transport=Transport.PROXIED).level is Level.PRODUCTION


def test_read_takes_something_to_read() -> None:
    """A read-only storage about which nothing was found out gets no level, and is told how to get one."""
    results = [Result(check, Status.NOT_CALLED_FOR, "the storage is read-only") for check in all_checks()]
    report = Report("a storage", evolve(REFERENCE, read_only=True), results, "small")
    assert report.level is Level.NONE
    text = "\n".join(report.verdict())
    assert "Not enough could be examined" in text
    assert "--writable-twin" in text


def test_the_verdict_says_what_a_failure_means() -> None:
    """Failures are named with what they mean for a repository."""
    text = "\n".join(report_with("F04 F05").verdict())
    assert "Failed in F (Conditional put, raced): F04, F05" in text
    assert "acknowledged and lost" in text
    assert "One process at a time" in text


def test_a_partial_run_has_no_level() -> None:
    """Some checks do not make a level."""
    report = evolve(report_with(""), complete=False)
    assert report.level is None
    assert "no level is given" in "\n".join(report.verdict())


@pytest.mark.parametrize(
    ("backend", "level", "words"),
    [
        (ModestReference, Level.SINGLE_WRITER, "lacks: create, update"),
        (SingleWriterReference, Level.SINGLE_WRITER, "lacks: update"),
        (ReadOnlyReference, Level.NONE, "--writable-twin"),
    ],
)
def test_honest_storages_pass(
    backend: type[ReferenceStorage], level: Level, words: str, workers: WorkerPool
) -> None:
    """A storage that lacks capabilities and says so passes what it is asked, and gets the level it can
    have."""
    report = run_suite(Location(backend.opener(), workers=workers))
    assert [(result.check.id, result.message) for result in report.failures] == []
    assert report.level is level
    assert words in "\n".join(report.verdict())


def test_the_text_shows_every_check_and_why_it_failed() -> None:
    """The plain table has a line for each check; reasons follow failures, and others when asked."""
    report = report_with("A01")
    text = report.as_text()
    assert all(check.id in text for check in all_checks())
    assert "FAIL A01" in text
    assert text.count("the reason") == 1
    assert report.as_text(verbose=True).count("the reason") == len(all_checks())


def test_the_json_is_complete() -> None:
    """The document has the level, the verdict, the capabilities and a result per check."""
    document = json.loads(report_with("F04").as_json())
    assert document["level"] == "Single-writer"
    assert document["passed"] is False
    assert document["capabilities"]["atomicity"] == "thread"
    assert document["transport"] == "none"
    statuses = {each["id"]: each["status"] for each in document["checks"]}
    assert statuses["F04"] == "failed"
    assert len(statuses) == len(all_checks())


def test_the_table_in_colour(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """On a terminal the report is a table with the same content; square brackets in it are no markup."""
    pytest.importorskip("rich")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "200")
    report = evolve(report_with("A01"), storage="<Storage [red]>")
    print_report(report, verbose=True)
    output = capsys.readouterr().out
    assert all(check.id in output and check.title in output for check in all_checks())
    assert "<Storage [red]>" in output
    assert "Level: None" in output
