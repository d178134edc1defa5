"""Storages for the tests of the suite."""

from __future__ import annotations

from typing import ClassVar

from attrs import evolve

from icechunk_conformance import Budget
from icechunk_conformance.reference import REFERENCE, ReferenceStorage
from icechunk_core.contract import Capabilities

# As small as the mistakes of the gallery allow: parts of 4 MiB, pages of 1,000.
GALLERY_BUDGET = Budget(
    "gallery", (4 << 20) + 5000, 1_005, 4, 3, 18, 8, timeout=15.0, patience=0.3, programs=2, commits=2
)


class SuspendingReference(ReferenceStorage):
    """The reference storage, suspending in every operation."""

    CAPABILITIES: ClassVar[Capabilities] = evolve(REFERENCE, may_suspend=True)


class ModestReference(ReferenceStorage):
    """A storage that has nothing but what it must, and says so."""

    CAPABILITIES: ClassVar[Capabilities] = Capabilities(
        list=False, ordered_list=False, suffix_range=False, may_suspend=False
    )


class ReadOnlyReference(ReferenceStorage):
    """A storage that only reads."""

    CAPABILITIES: ClassVar[Capabilities] = evolve(REFERENCE, read_only=True)


class SingleWriterReference(ReferenceStorage):
    """A storage without conditional update, which says so."""

    CAPABILITIES: ClassVar[Capabilities] = evolve(REFERENCE, update=False)
