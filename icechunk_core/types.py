"""Types of parameters."""

from typing import Literal, TypeAlias

CommitMethod: TypeAlias = Literal["new_commit", "amend"]
"""How a change of manifests enters the history: as a commit of its own, or in place of the latest."""

__all__ = ["CommitMethod"]
