"""The directory that other implementations of Icechunk see."""

from __future__ import annotations

import tarfile
from datetime import UTC, datetime
from pathlib import Path

import pytest

from icechunk_core.contract import IF_ABSENT
from icechunk_core.contract.errors import NotFound
from tests.backends.filesystem.support import files_below, keys_of, now, open_at, read

VECTORS = Path(__file__).parents[2] / "vectors"


def test_reads_a_directory_of_icechunk(tmp_path: Path) -> None:
    """Every file that Icechunk wrote is found under its key, and the encoded name of a tag is decoded."""
    with tarfile.open(VECTORS / "v1-basic.tar.gz") as archive:
        # Python 3.11.2 has no filters yet; later ones warn unless told which to use.
        archive.extraction_filter = getattr(tarfile, "data_filter", None)
        archive.extractall(tmp_path)
    (root,) = [path.parent for path in tmp_path.rglob("refs")]
    storage = open_at(root)
    keys = keys_of(storage)
    assert len(keys) == len(files_below(root))
    assert "refs/tag.étiquette/ref.json" in keys
    assert keys_of(storage, "refs/tag.é") == ["refs/tag.étiquette/ref.json"]
    for key in keys:
        assert now(storage.head(key)).size == len(read(storage, key))
    with pytest.raises(NotFound):
        read(storage, "refs/tag.%C3%A9tiquette/ref.json")


def test_icechunk_creates_where_we_only_looked(tmp_path: Path) -> None:
    """A directory that we opened and read is still empty for Icechunk, and its repository is listed."""
    icechunk = pytest.importorskip("icechunk")
    storage = open_at(tmp_path / "root", durable=True)
    assert keys_of(storage) == []
    with pytest.raises(NotFound):
        read(storage, "repo")
    icechunk.Repository.create(icechunk.local_filesystem_storage(str(tmp_path / "root")))
    assert {key.partition("/")[0] for key in keys_of(storage)} >= {"snapshots"}


def test_our_bookkeeping_does_not_disturb_icechunk(tmp_path: Path) -> None:
    """Icechunk opens, commits to and cleans up a repository in a directory that we wrote to."""
    icechunk = pytest.importorskip("icechunk")
    zarr = pytest.importorskip("zarr")
    place = icechunk.local_filesystem_storage(str(tmp_path / "root"))
    icechunk.Repository.create(place)
    storage = open_at(tmp_path / "root", durable=True)
    now(storage.put("overwritten/ours", b"x", IF_ABSENT))
    repository = icechunk.Repository.open(place)
    session = repository.writable_session("main")
    zarr.group(session.store)
    session.commit("a group")
    repository.garbage_collect(datetime.now(UTC))
    assert next(iter(repository.ancestry(branch="main"))).message == "a group"
    assert (tmp_path / "root" / ".icechunk-core" / "locks").is_dir()
