"""Opening, reopening, configuration, and what an opened repository says about itself."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import pytest
import zarr

import icechunk_core as ic
from icechunk_core.contract import Storage
from tests.repository.programs import commit_group

ROOT = "1CECHNKREP0F1RSTCMT0"
PREFIX = "s3://bucket/data/"


def with_container(**settings: Any) -> ic.RepositoryConfig:
    config = ic.RepositoryConfig(**settings)
    config.set_virtual_chunk_container(
        ic.VirtualChunkContainer(PREFIX, ic.ObjectStoreConfig.S3(ic.S3Options(region="us-east-1")))
    )
    return config


# --- reopen


def test_reopen_merges_configurations(repo: ic.Repository) -> None:
    """What is passed wins, the rest stays; neither the original nor what is stored changes."""
    first = repo.reopen(ic.RepositoryConfig(inline_chunk_threshold_bytes=9))
    second = first.reopen(config=ic.RepositoryConfig(max_concurrent_requests=3))
    assert second.config.inline_chunk_threshold_bytes == 9
    assert second.config.max_concurrent_requests == 3
    assert repo.config.inline_chunk_threshold_bytes is None
    assert first.config.max_concurrent_requests is None
    assert ic.Repository.fetch_config(repo.storage) is None


def test_reopen_without_arguments_is_a_copy(repo: ic.Repository) -> None:
    """Changing the copy's configuration does not change the original's."""
    original = repo.reopen(ic.RepositoryConfig(inline_chunk_threshold_bytes=9))
    copy = original.reopen()
    copy.config.inline_chunk_threshold_bytes = 1
    assert original.config.inline_chunk_threshold_bytes == 9
    commit_group(copy, "a")
    assert original.lookup_branch("main") == copy.lookup_branch("main")


def test_reopen_does_not_read_the_stored_configuration(storage: Storage, spec_version: int) -> None:
    """A configuration that somebody saved meanwhile counts for those who open, not for those who reopen."""
    repo = ic.Repository.create(storage, spec_version=spec_version)
    ic.Repository.open(storage, ic.RepositoryConfig(inline_chunk_threshold_bytes=33)).save_config()
    assert repo.reopen().config.inline_chunk_threshold_bytes is None
    assert ic.Repository.open(storage).config.inline_chunk_threshold_bytes == 33


def test_reopen_authorisations(storage: Storage) -> None:
    """They stay unless given, an empty mapping takes them away."""
    access = ic.containers_credentials({PREFIX: ic.s3_anonymous_credentials()})
    repo = ic.Repository.create(storage, with_container(), access)
    assert repo.authorized_virtual_container_prefixes == {PREFIX}
    assert repo.reopen().authorized_virtual_container_prefixes == {PREFIX}
    closed = repo.reopen(authorize_virtual_chunk_access={})
    assert closed.authorized_virtual_container_prefixes == set()
    assert repo.authorized_virtual_container_prefixes == {PREFIX}
    assert closed.config.get_virtual_chunk_container(PREFIX) is not None
    opened = ic.Repository.open(storage)
    assert opened.authorized_virtual_container_prefixes == set()
    assert opened.config.get_virtual_chunk_container(PREFIX) is not None


def test_containers_are_replaced_whole(storage: Storage) -> None:
    """A configuration with containers replaces those before; one that says nothing keeps them."""
    repo = ic.Repository.create(storage, with_container())
    kept = repo.reopen(ic.RepositoryConfig(inline_chunk_threshold_bytes=1))
    assert set(kept.config.virtual_chunk_containers or {}) == {PREFIX}
    none = ic.RepositoryConfig()
    none.clear_virtual_chunk_containers()
    assert not repo.reopen(none).config.virtual_chunk_containers


async def test_reopen_async(repo: ic.Repository) -> None:
    """The twin does the same."""
    reopened = await repo.reopen_async(ic.RepositoryConfig(inline_chunk_threshold_bytes=9))
    assert reopened.config.inline_chunk_threshold_bytes == 9


# --- default commit metadata


def test_default_commit_metadata(repo: ic.Repository) -> None:
    """It is added to commits of later sessions; the commit's own keys win."""
    repo.set_default_commit_metadata({"author": "a", "run": 1})
    assert repo.default_commit_metadata() == {"author": "a", "run": 1}
    repo.default_commit_metadata()["x"] = 1
    assert repo.default_commit_metadata() == {"author": "a", "run": 1}
    commit_group(repo, "a", metadata={"run": 2})
    assert next(iter(repo.ancestry(branch="main"))).metadata == {"author": "a", "run": 2}
    assert repo.reopen().default_commit_metadata() == {}
    assert pickle.loads(pickle.dumps(repo)).default_commit_metadata() == {"author": "a", "run": 1}


@pytest.mark.parametrize("value", [None, {"a": object()}, {1: 2}])
def test_default_commit_metadata_is_json(repo: ic.Repository, value: Any) -> None:
    """It is refused when it is set, not at some later commit."""
    with pytest.raises(TypeError):
        repo.set_default_commit_metadata(value)
    assert repo.default_commit_metadata() == {}


def test_transaction_adds_it_too(repo: ic.Repository) -> None:
    """A transaction commits with its own metadata on top of the default."""
    repo.set_default_commit_metadata({"author": "a"})
    with repo.transaction("main", message="m", metadata={"run": 1}) as store:
        zarr.create_group(store)
    newest = next(iter(repo.ancestry(branch="main")))
    assert (newest.message, newest.metadata) == ("m", {"author": "a", "run": 1})


def test_transaction_that_fails(repo: ic.Repository) -> None:
    """A block that raises commits nothing; one that changes nothing is an error, as a commit is."""
    with pytest.raises(ZeroDivisionError), repo.transaction("main", message="m"):
        raise ZeroDivisionError
    with pytest.raises(ic.SessionStateError) as raised, repo.transaction("main", message="m"):
        pass
    assert raised.value.kind == ic.ErrorKind.NO_CHANGES_TO_COMMIT
    assert len(list(repo.ancestry(branch="main"))) == 1


# --- attribution


def test_attribution_is_kept(storage: Storage) -> None:
    """Reopened and pickled repositories have the same labels; without any they are empty."""
    labels = ic.Attribution(client="weather/0.9", workload="nightly ingest", principal="me@example.org")
    repo = ic.Repository.create(storage, attribution=labels)
    assert repo.attribution == repo.reopen().attribution == labels
    assert pickle.loads(pickle.dumps(repo)).attribution == labels
    assert ic.Repository.open(storage).attribution == ic.Attribution()
    assert ic.Repository.open(storage, attribution=labels).attribution == labels
    assert ic.Repository.open_or_create(storage, attribution=labels).attribution == labels


@pytest.mark.parametrize(
    "labels",
    [
        {"client": "a b"}, {"client": ""}, {"client": "a/b/c"}, {"client": "a/"}, {"client": "/a"},
        {"workload": "x;y"}, {"workload": "é"}, {"workload": "a" * 129}, {"workload": "\t"},
        {"principal": "a(b"}, {"principal": 'a"'}, {"principal": "a\\"}, {"principal": "\x7f"},
    ],
)  # fmt: skip
def test_labels_that_cannot_be_sent(labels: dict[str, str]) -> None:
    """They are refused at once."""
    with pytest.raises(ValueError, match=next(iter(labels))):
        ic.Attribution(**labels)


def test_labels_of_any_kind() -> None:
    """Blanks and an empty workload are fine; other types are not."""
    assert ic.Attribution(workload="", principal=" a b").principal == " a b"
    with pytest.raises(TypeError):
        ic.Attribution(client=1)  # type: ignore[arg-type]


# --- mistakes


def test_versions_that_do_not_exist() -> None:
    """An unknown version of the format is a `ValueError` that names those there are."""
    with pytest.raises(ValueError, match="use 1 or 2"):
        ic.Repository.create("memory:", spec_version=7)


def test_where_nothing_is(storage: Storage) -> None:
    """Asking about a place without a repository is an error or None, and leaves it empty."""
    assert not ic.Repository.exists(storage, None)
    assert ic.Repository.fetch_spec_version(storage, storage_settings=None) is None
    for call in (ic.Repository.open, ic.Repository.fetch_config):
        with pytest.raises(ic.RepositoryNotFoundError):
            call(storage)
    assert not ic.Repository.exists(storage)


def test_errors_come_from_the_call(repo: ic.Repository) -> None:
    """Iterators of a history that does not exist fail when they are asked for, not when they are used."""
    with pytest.raises(ic.RefNotFoundError):
        repo.ancestry(branch="nowhere")
    with pytest.raises(ValueError, match="one of branch"):
        repo.ancestry()
    with pytest.raises(ValueError, match="one of branch"):
        repo.async_ancestry(branch="main", tag="x")


_WRONG_TYPES: dict[str, Callable[[Any], Any]] = {
    "create_branch": lambda repo: repo.create_branch(5, ROOT),
    "create_branch at": lambda repo: repo.create_branch("b", 5),
    "lookup_branch": lambda repo: repo.lookup_branch(None),
    "reset_branch": lambda repo: repo.reset_branch("main", ROOT, from_snapshot_id=b"x"),
    "delete_branch": lambda repo: repo.delete_branch(5),
    "create_tag": lambda repo: repo.create_tag(None, ROOT),
    "lookup_tag": lambda repo: repo.lookup_tag(5),
    "delete_tag": lambda repo: repo.delete_tag(b"t"),
    "lookup_snapshot": lambda repo: repo.lookup_snapshot(None),
    "list_manifest_files": lambda repo: repo.list_manifest_files(5),
    "readonly_session": lambda repo: repo.readonly_session(5),
    "writable_session": lambda repo: repo.writable_session(None),
    "ancestry": lambda repo: repo.ancestry(tag=5),
    "set_status": lambda repo: repo.set_status(1),
    "set_feature_flag": lambda repo: repo.set_feature_flag("move_node", 1),
    "inspect_snapshot": lambda repo: repo.inspect_snapshot(5),
}


@pytest.mark.parametrize("call", _WRONG_TYPES.values(), ids=list(_WRONG_TYPES))
def test_wrong_types(call: Callable[[Any], Any]) -> None:
    """Arguments of a wrong type are a `TypeError`, and nothing is written."""
    repo = ic.Repository.create("memory:")
    with pytest.raises(TypeError):
        call(repo)
    assert len(list(repo.ops_log())) == 1


def test_names_that_cannot_be_stored(repo: ic.Repository) -> None:
    """Half a surrogate pair has no UTF-8."""
    for call in (repo.create_branch, repo.create_tag):
        with pytest.raises(ic.InvalidInputError) as raised:
            call("\ud800", ROOT)
        assert raised.value.kind == ic.ErrorKind.INVALID_REF_NAME


def test_representations(repo: ic.Repository) -> None:
    """Version, storage and configuration show as text and HTML."""
    version = int(repo.spec_version)
    assert str(repo).startswith(f"<icechunk_core.Repository (v{version})>\nstorage:")
    assert f"spec {version}" in repr(repo)
    assert f"Repository (v{version})" in repo._repr_html_()
