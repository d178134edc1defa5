"""Spec 1 refs as files: names that the local storage layer escapes are found under their own names."""

from __future__ import annotations

from pathlib import Path

import icechunk_core as ic
from tests.vectors_support import load_vector


def test_escaped_tag_of_a_genuine_repository(tmp_path: Path) -> None:
    """A tag whose file name is percent-encoded is listed, and found, by its real name."""
    load_vector("v1-basic").copy_to(tmp_path / "repo")
    [branch] = (tmp_path / "repo").rglob("tag.%C3%A9tiquette")
    repo = ic.Repository.open(branch.parent.parent)
    assert "étiquette" in repo.list_tags()
    snapshot = repo.lookup_tag("étiquette")
    assert repo.readonly_session(tag="étiquette").snapshot_id == snapshot
    repo.delete_tag("étiquette")
    assert (branch / "ref.json.deleted").exists()
    assert "étiquette" not in repo.list_tags()
