"""The suite as a pytest class: subclass it in a backend's own tests.

>>> from icechunk_conformance.pytest import StorageConformance
>>> class TestMyBackend(StorageConformance):
...     url = "memory:"

Every check becomes one test. For a storage without a URL override the fixture ``location``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest

from icechunk_conformance.budget import SMALL, Budget
from icechunk_conformance.registry import all_checks
from icechunk_conformance.report import Status
from icechunk_conformance.runner import search
from icechunk_conformance.target import Location

__all__ = ["StorageConformance"]

_CHECKS = {check.id: check for check in all_checks()}


class StorageConformance:
    """One test per check, against one storage.

    Attributes
    ----------
    url
        The storage to test. Or override `location`.
    secrets
        Texts that must never show.
    budget
        How much work to do.
    """

    url: ClassVar[str] = ""
    secrets: ClassVar[tuple[str, ...]] = ()
    budget: ClassVar[Budget] = SMALL

    @pytest.fixture(scope="class")
    @classmethod
    def location(cls) -> Iterator[Location]:
        """Where to work; closed and cleaned up after the class's last test."""
        location = Location.from_url(cls.url, secrets=cls.secrets, budget=cls.budget)
        yield location
        asyncio.run(location.cleanup())

    @pytest.mark.parametrize("check_id", sorted(_CHECKS))
    def test_conformance(self, check_id: str, location: Any) -> None:
        """The storage keeps the check's promise, or its capabilities do not call for it."""
        result = asyncio.run(search(_CHECKS[check_id], location))
        if result.status is Status.NOT_CALLED_FOR:
            pytest.skip(result.message)
        if result.status is Status.FAILED:
            pytest.fail(
                f"{check_id} {result.check.title}\n{result.message}\n\n{result.check.promise}", pytrace=False
            )
