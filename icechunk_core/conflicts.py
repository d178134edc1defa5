"""What can clash when a session is rebased, and who solves it."""

from icechunk_core.transaction.conflicts import Conflict, ConflictType
from icechunk_core.transaction.solvers import (
    BasicConflictSolver,
    ConflictDetector,
    ConflictSolver,
    VersionSelection,
)

__all__ = [
    "BasicConflictSolver",
    "Conflict",
    "ConflictDetector",
    "ConflictSolver",
    "ConflictType",
    "VersionSelection",
]
