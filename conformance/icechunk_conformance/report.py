"""What a run found: results, the level reached, and how to say it."""

from __future__ import annotations

import enum
import json
from collections.abc import Iterable
from typing import Any

import attrs
from attrs import field, frozen

from icechunk_conformance.registry import GROUPS, Check
from icechunk_conformance.transport import Transport
from icechunk_core.contract import Capabilities

__all__ = ["CONSEQUENCES", "Level", "Report", "Result", "Status", "meaning_of"]


class Status(enum.StrEnum):
    """Outcome of one check."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_CALLED_FOR = "not called for"
    """The declared capabilities do not call for it, or there is nothing to look at."""


class Level(enum.IntEnum):
    """What a storage may be used for."""

    NONE = 0
    READ = 1
    SINGLE_WRITER = 2
    COMMIT_SAFE = 3
    PRODUCTION = 4

    @property
    def label(self) -> str:
        return _LABELS[self]


_LABELS = {
    Level.NONE: "None",
    Level.READ: "Read",
    Level.SINGLE_WRITER: "Single-writer",
    Level.COMMIT_SAFE: "Commit-safe",
    Level.PRODUCTION: "Production",
}
_GROUPS_OF = {
    Level.READ: "ABCD",
    Level.SINGLE_WRITER: "ABCDE",
    Level.COMMIT_SAFE: "ABCDEFG",
    Level.PRODUCTION: "ABCDEFGHIJKLM",
}
_MEANING = {
    Level.NONE: "Do not keep a repository on it: what is written may not be what is read.",
    Level.READ: "Objects are stored and read correctly. Do not write to a repository on it with anything "
    "that you could not write again.",
    Level.SINGLE_WRITER: "One process at a time may write to a repository on it. "
    "Several at once can lose commits.",
    Level.COMMIT_SAFE: "Any number of writers may commit to a repository on it at the same time; a commit "
    "that was acknowledged is in the history.",
    Level.PRODUCTION: "Commit-safe, and it also stands faults of the transport, cancellation and the "
    "death of its users.",
}
CONSEQUENCES = {
    "A": "chunks and metadata of a repository could be lost or come back wrong",
    "B": "parts of chunks and of large files could be read wrong, or from two versions at once",
    "C": "branches, tags or nodes whose names come out alike could overwrite each other",
    "D": "garbage collection and expiry decide by listings: they could miss objects, or delete live ones",
    "E": "a commit could overwrite another one that it never saw",
    "F": "concurrent commits could be acknowledged and lost",
    "G": "a commit could be reported as a conflict and be in the history, or as a success and be lost",
    "H": "a network that stumbles could pass for missing data, cut chunks short, or hang a program",
    "I": "interrupted or multi-threaded programs (zarr runs a loop of its own) could hang, "
    "or leave half-written objects",
    "J": "dask, multiprocessing and other workers could fail, or credentials could end up in logs",
    "K": "what was acknowledged could be gone when a program or a machine dies",
    "L": "operations that are right one by one go wrong in combination, or cost more requests than they must",
    "M": "repositories do not work as they should",
}


def meaning_of(level: Level) -> str:
    """What a storage of that level may be used for."""
    return _MEANING[level]


@frozen
class Result:
    """Outcome of one check on one storage.

    Attributes
    ----------
    message
        Why it failed, or was not called for.
    seconds
        How long it took.
    hung
        Whether it failed for want of an answer.
    cut_short
        Whether it had less than the full time for that, since checks before it had hung.
    """

    check: Check
    status: Status
    message: str = ""
    seconds: float = 0.0
    hung: bool = False
    cut_short: bool = False


def _results(results: Iterable[Result]) -> tuple[Result, ...]:
    return tuple(results)


@frozen
class Report:
    """The results of a run.

    Attributes
    ----------
    storage
        What was tested, without secrets.
    complete
        Whether all checks were selected; otherwise no level is given.
    transport
        Whether faults could be injected into it.
    label
        What the server is called, if it was named.
    left
        What could not be removed at the end.
    """

    storage: str
    capabilities: Capabilities
    results: tuple[Result, ...] = field(converter=_results)
    budget: str
    complete: bool = True
    seconds: float = 0.0
    transport: Transport = Transport.NONE
    label: str = ""
    left: str = ""

    @property
    def failures(self) -> list[Result]:
        """The checks that failed."""
        return [result for result in self.results if result.status is Status.FAILED]

    @property
    def passed(self) -> bool:
        """Whether every check that was called for passed."""
        return not self.failures

    @property
    def level(self) -> Level | None:
        """The highest level whose checks all passed; ``None`` for a partial run.

        A level counts the checks that the declared capabilities call for. Beyond that, Read takes
        that reading was examined at all, Commit-safe the declaration of `create`, `update` and of a scope
        of atomicity, and Production that of `durable` and a transport into which faults could be injected,
        where there is one.
        """
        if not self.complete:
            return None
        reached = Level.NONE
        for level in (Level.READ, Level.SINGLE_WRITER, Level.COMMIT_SAFE, Level.PRODUCTION):
            if self.obstacles(level):
                break
            reached = level
        return reached

    def obstacles(self, level: Level) -> list[str]:
        """Why the level is not reached, lower ones aside."""
        failed = [result.check.id for result in self.failures if result.check.group in _GROUPS_OF[level]]
        found = [f"failed: {', '.join(failed)}"] if failed else []
        passed = {result.check.group for result in self.results if result.status is Status.PASSED}
        has = self.capabilities
        if level is Level.READ and not {"A", "B"} <= passed and not failed:
            found.append(
                "nothing could be read, since the storage is read-only and empty: name a storage that writes "
                "to the same place (--writable-twin URL)"
            )
        if level is Level.SINGLE_WRITER and has.read_only:
            found.append("it is read-only")
        if level is Level.COMMIT_SAFE and not has.commit_safe:
            lacking = [name for name in ("create", "update") if not getattr(has, name)]
            found.append(
                f"it honestly says that it lacks: {', '.join(lacking)}"
                if lacking
                else "it declares no scope of atomicity"
            )
        if level is Level.PRODUCTION:
            if not has.durable:
                found.append("it does not declare that an acknowledged write survives power loss")
            if self.transport is Transport.OUT_OF_REACH:
                found.append(self.transport.value)
        return found

    # --- text

    def verdict(self) -> list[str]:
        """What it all means, in a few lines for somebody new to it."""
        ran = sum(result.status is not Status.NOT_CALLED_FOR for result in self.results)
        lines = [
            f"{ran - len(self.failures)} of {ran} checks passed ({self.seconds:.0f} s, budget {self.budget})."
        ]
        level = self.level
        if level is None:
            lines.append("A part of the suite ran: no level is given. Run it without --only for a verdict.")
        else:
            lines.append(f"Level: {level.label}. {self._meaning(level)}")
            if level < Level.PRODUCTION:
                above = Level(level + 1)
                lines.append(f"{above.label} is not given: {'; '.join(self.obstacles(above))}.")
            if level >= Level.SINGLE_WRITER and self.transport is Transport.OUT_OF_REACH:
                why = self.transport.value
                lines.append(f"Ambiguous outcomes (G) were brought about around its hooks: {why}.")
        for group in sorted({result.check.group for result in self.failures}):
            ids = ", ".join(result.check.id for result in self.failures if result.check.group == group)
            lines.append(
                f"Failed in {group} ({GROUPS[group]}): {ids}. On such a storage {CONSEQUENCES[group]}."
            )
        return [line for line in [*lines, self._about_time(), self.left] if line]

    def _about_time(self) -> str:
        hung = [result for result in self.results if result.hung]
        cut = [result.check.id for result in hung if result.cut_short]
        if not cut:
            return ""
        return (
            f"{len(hung)} checks waited for what never came. After the first of them, less and less "
            f"time was given, and {', '.join(cut)} did not end in it: if the storage was only slow there, "
            "--only with their ids gives them the full time."
        )

    def _meaning(self, level: Level) -> str:
        if level is Level.NONE and self.passed:
            return "Not enough could be examined."
        return _MEANING[level]

    def as_text(self, *, verbose: bool = False) -> str:
        """Table and verdict as plain text; ``verbose`` shows passed and uncalled-for checks' remarks too."""
        lines = [self.storage, ""]
        for group, name in GROUPS.items():
            rows = [result for result in self.results if result.check.group == group]
            if not rows:
                continue
            lines.append(f"{group}  {name}")
            for result in rows:
                mark = {Status.PASSED: "ok  ", Status.FAILED: "FAIL", Status.NOT_CALLED_FOR: "-   "}[
                    result.status
                ]
                lines.append(f"  {mark} {result.check.id}  {result.check.title}")
                if result.message and (result.status is Status.FAILED or verbose):
                    lines += [f"             {line}" for line in result.message.splitlines()]
        return "\n".join([*lines, "", *self.verdict()])

    def as_json(self) -> str:
        """Everything, for machines."""
        level = self.level
        document: dict[str, Any] = {
            "storage": self.storage,
            "label": self.label,
            "budget": self.budget,
            "seconds": round(self.seconds, 3),
            "passed": self.passed,
            "level": level.label if level is not None else None,
            "transport": self.transport.name.lower(),
            "capabilities": attrs.asdict(self.capabilities, value_serializer=_plain),
            "verdict": self.verdict(),
            "checks": [
                {
                    "id": result.check.id,
                    "title": result.check.title,
                    "status": result.status.value,
                    "message": result.message,
                    "seconds": round(result.seconds, 4),
                }
                for result in self.results
            ],
        }
        return json.dumps(document, indent=2)


def _plain(instance: Any, attribute: Any, value: Any) -> Any:
    return value.name.lower() if isinstance(value, enum.Enum) else value
