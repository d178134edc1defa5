"""A conformance suite for storage backends of icechunk-core.

Three ways to run it:

* ``python -m icechunk_conformance URL`` against any storage that opens by URL,
* subclass `icechunk_conformance.pytest.StorageConformance` in a backend's own tests,
* `run_suite` from Python.

The checks themselves are plain ``async def check(target)`` functions without pytest. The
suite works under a random prefix of its own, touches nothing else and removes it.
"""

from icechunk_conformance.budget import BUDGETS, LARGE, NORMAL, SMALL, Budget
from icechunk_conformance.expect import Failure, NotApplicable
from icechunk_conformance.registry import Check, all_checks, check
from icechunk_conformance.report import Level, Report, Result, Status
from icechunk_conformance.runner import run_check, run_suite
from icechunk_conformance.target import Location, Target

__all__ = [
    "BUDGETS",
    "LARGE",
    "NORMAL",
    "SMALL",
    "Budget",
    "Check",
    "Failure",
    "Level",
    "Location",
    "NotApplicable",
    "Report",
    "Result",
    "Status",
    "Target",
    "all_checks",
    "check",
    "run_check",
    "run_suite",
]
