"""Run the suite on every server, and write the reports from which the table in the docs is made.

``python -m tests.conformance.on_servers`` runs all of them; names select some.
"""

from __future__ import annotations

import json
import pickle
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from attrs import frozen

from icechunk_conformance import BUDGETS, Budget, Location, Report, run_suite
from icechunk_conformance.backends_page import backends_page
from icechunk_conformance.patience import Patience
from icechunk_core.contract import Storage
from icechunk_core.storage import storage_from_url
from tests.conformance.static_server import StaticServer
from tests.servers import catalogue

__all__ = ["CONTENDERS", "NAMES", "location_on", "main"]

FOLDER = Path(__file__).parents[2] / "docs" / "reference" / "conformance-reports"
PAGE = FOLDER.parent / "backends.md"
NAMES = tuple(json.loads((FOLDER / "servers.json").read_text(encoding="utf-8")))

CONTENDERS = {"seaweedfs": 3}
"""The most that race for one object, for servers whose losers wait long."""


@frozen
class Reopen:
    """Opens an independent client of a storage."""

    pickled: bytes

    def __call__(self) -> Storage:
        storage: Storage = pickle.loads(self.pickled)
        return storage


@contextmanager
def location_on(name: str, budget: Budget) -> Iterator[Location]:
    """Where to work on a server, which runs meanwhile."""
    make = partial(Location, budget=budget, contenders=CONTENDERS.get(name))
    if name == "memory":
        yield make(partial(storage_from_url, "memory:reports"))
        return
    with tempfile.TemporaryDirectory(prefix="conformance-", ignore_cleanup_errors=True) as folder:
        if name == "filesystem":
            yield make(partial(storage_from_url, Path(folder).as_uri()))
            return
        if name == "static":
            twin: Callable[[], Storage] = partial(
                storage_from_url, f"{Path(folder).as_uri()}?verbatim=true&durable=false"
            )
            with StaticServer(folder) as url:
                yield make(partial(storage_from_url, url), twin=twin)
            return
    with catalogue.running(name) as server:
        storage = server.storage(server.new_bucket(), "some/prefix")
        yield make(Reopen(pickle.dumps(storage)))


def run_on(name: str, budget: Budget) -> Report:
    """The suite's report on a server."""
    with location_on(name, budget) as location:
        # The same limit for each check, whatever came before: reports are compared.
        same = Patience(budget.timeout, shortest=budget.timeout, shortest_if_silent=budget.timeout)
        return run_suite(location, patience=same)


def _committed(name: str, report: Report) -> str:
    """The report without what differs from run to run."""
    document = json.loads(report.as_json())
    document["storage"], document["label"] = name, name
    for text in ("seconds", "verdict"):
        document.pop(text)
    for check in document["checks"]:
        check.pop("seconds")
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def main(names: list[str]) -> None:
    """Run and write."""
    for name in names or NAMES:
        report = run_on(name, BUDGETS["small"])
        print(f"{name}: {report.level.label if report.level is not None else '-'}, {report.seconds:.0f} s")
        for result in report.failures:
            print(f"    {result.check.id} {result.message[:300]}")
        (FOLDER / f"{name}.json").write_text(_committed(name, report), encoding="utf-8")
    PAGE.write_text(backends_page(FOLDER), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
