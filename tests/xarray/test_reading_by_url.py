"""Versions of repositories open in xarray by path and URL, from directories, memory, S3 and web servers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dask.base
import numpy as np
import pytest
import xarray
from xarray.backends.plugins import guess_engine, list_engines

import icechunk_core as ic
from icechunk_core.xarray import open_dataset, open_datatree, open_store, to_icechunk
from tests.backends.http.server import plain_server, web_server
from tests.servers.s3 import S3Server

FIRST = xarray.Dataset({"t": ("x", np.arange(6.0))}, {"x": np.arange(6)})
SECOND = FIRST + 100


def two_versions(storage: Any) -> ic.Repository:
    """A repository whose tag ``v1`` shows `FIRST`, and ``main`` `SECOND`, which the group ``g`` has, too."""
    repo = ic.Repository.create(storage)
    for number, data in enumerate((FIRST, SECOND)):
        session = repo.writable_session("main")
        to_icechunk(data, session, mode="w")
        to_icechunk(data, session, group="g", mode="w")
        snapshot_id = session.commit(f"version {number + 1}")
        if not number:
            repo.create_tag("v1", snapshot_id)
    return repo


def check(source: Any, **options: Any) -> None:
    """Both versions, by the engine and by the function."""
    for opening in (lambda **given: xarray.open_dataset(source, engine="icechunk", **given), None):
        opened = opening or (lambda **given: open_dataset(source, **given))
        with opened(**options) as now, opened(tag="v1", **options) as before:
            xarray.testing.assert_equal(now.load(), SECOND)
            xarray.testing.assert_equal(before.load(), FIRST)
        with opened(group="g", **options) as inner:
            xarray.testing.assert_equal(inner.load(), SECOND)


@pytest.mark.parametrize("form", [str, Path, Path.as_uri], ids=["text", "Path", "URL"])
def test_directories(form: Any, tmp_path: Path) -> None:
    """A path, as text or not, or a ``file:`` URL."""
    two_versions(tmp_path / "repo")
    check(form(tmp_path / "repo"))


def test_memory() -> None:
    """A named storage in memory."""
    two_versions("memory:by-url")
    check("memory:by-url")


def test_s3(ministack: S3Server) -> None:
    """An S3 URL; what it does not say is in `storage_options`."""
    bucket = ministack.new_bucket()
    two_versions(ministack.storage(bucket, "data/repo"))
    options = {
        **ministack.options(),
        "access_key_id": ministack.access_key,
        "secret_access_key": ministack.secret_key,
    }
    check(f"s3://{bucket}/data/repo", storage_options=options)


@pytest.mark.parametrize("server", [web_server, plain_server], ids=["ranges", "whole files only"])
def test_web_servers(server: Any, tmp_path: Path) -> None:
    """A published directory, on servers that know byte ranges and on those that do not."""
    two_versions(tmp_path / "repo")
    with server(tmp_path) as web:
        check(f"{getattr(web, 'url', web)}/repo")


def test_a_repository_and_a_session() -> None:
    """What is open already can be passed instead; a session is a version, so none can be chosen."""
    repo = two_versions("memory:")
    check(repo)
    session = repo.readonly_session(tag="v1")
    for source in (session, session.store):
        xarray.testing.assert_equal(xarray.open_dataset(source, engine="icechunk").load(), FIRST)
        with pytest.raises(ic.InvalidInputError, match="tag"):
            open_store(source, tag="v1")
    with pytest.raises(ic.InvalidInputError, match="storage_options"):
        open_store(repo, storage_options={})


def test_versions_by_time_and_id() -> None:
    """A snapshot's id, and a branch at a time."""
    repo = two_versions("memory:")
    second, first, _ = list(repo.ancestry(branch="main"))
    for version in ({"snapshot_id": first.id}, {"branch": "main", "as_of": first.written_at}):
        xarray.testing.assert_equal(open_dataset(repo, **version).load(), FIRST)
    xarray.testing.assert_equal(open_dataset(repo, as_of=second.written_at).load(), SECOND)


def test_uncommitted_data_are_seen() -> None:
    """A writable session shows what was written to it."""
    session = two_versions("memory:").writable_session("main")
    to_icechunk(FIRST * 2, session, mode="w")
    xarray.testing.assert_equal(open_dataset(session).load(), FIRST * 2)


def test_trees() -> None:
    """All groups at once, by the engine and by the function."""
    repo = two_versions("memory:")
    for tree in (
        open_datatree(repo, tag="v1"),
        xarray.open_datatree(repo, engine="icechunk", tag="v1"),
        xarray.DataTree.from_dict(xarray.open_groups(repo, engine="icechunk", tag="v1")),
    ):
        xarray.testing.assert_equal(tree.to_dataset().load(), FIRST)
        xarray.testing.assert_equal(tree["g"].to_dataset().load(), FIRST)


def test_the_engine_is_guessed_with_care(tmp_path: Path) -> None:
    """For our objects and local repositories; for nothing else."""
    repo = two_versions(tmp_path / "repo")
    session = repo.readonly_session("main")
    for source in (repo, session, session.store, tmp_path / "repo", str(tmp_path / "repo")):
        assert guess_engine(source) == "icechunk"
    (tmp_path / "plain.zarr").mkdir()
    (tmp_path / "folder" / "snapshots").mkdir(parents=True)
    assert guess_engine(tmp_path / "plain.zarr") == "zarr"
    for other in (tmp_path / "folder", object()):
        with pytest.raises(ValueError, match="did not find a match"):
            guess_engine(other)
    assert not list_engines()["icechunk"].guess_can_open("s3://bucket/climate")
    xarray.testing.assert_equal(xarray.open_dataset(tmp_path / "repo").load(), SECOND)
    ic.Repository.create(tmp_path / "old", spec_version=1)
    assert guess_engine(tmp_path / "old") == "icechunk"


def test_what_is_not_there(tmp_path: Path) -> None:
    """No repository, and no such version, are told apart."""
    with pytest.raises(ic.RepositoryNotFoundError, match="no repository"):
        xarray.open_dataset(tmp_path, engine="icechunk")
    repo = two_versions(tmp_path / "repo")
    with pytest.raises(ic.RefNotFoundError, match="v7"):
        xarray.open_dataset(tmp_path / "repo", engine="icechunk", tag="v7")
    with pytest.raises(ic.InvalidInputError):
        open_dataset(repo, tag="v1", branch="main")


def test_dask_arrays_of_two_versions(tmp_path: Path) -> None:
    """Chunks of two versions can be used in one computation: their names tell the versions apart."""
    repo = two_versions(tmp_path / "repo")
    before, now = open_dataset(repo, tag="v1", chunks={}), open_dataset(repo, chunks={})
    assert (now.t - before.t).values.tolist() == [100.0] * 6
    again = open_dataset(str(tmp_path / "repo"), chunks={})
    assert again.t.data.name == now.t.data.name != before.t.data.name
    session = repo.writable_session("main")
    assert dask.base.tokenize(session.store) != dask.base.tokenize(session.store)
