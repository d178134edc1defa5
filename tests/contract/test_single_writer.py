"""Repositories on storages without conditional writes, for one writer."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import zarr
from attrs import evolve

import icechunk_core as ic
from icechunk_core.contract import IF_ABSENT, AtomicityScope, IfVersion, Storage, Version
from icechunk_core.contract.wrappers import for_single_writer
from icechunk_core.errors import AlreadyExists, Unsupported, VersionMismatch
from icechunk_core.storage import local_filesystem_storage


def _unconditional(storage: Storage) -> Storage:
    """The storage without conditional puts, as a plain server without them declares itself."""

    async def put(*arguments: object) -> Version:
        if arguments[2] == IF_ABSENT or isinstance(arguments[2], IfVersion):
            raise Unsupported("no conditions here")
        return await storage.put_hook(*arguments)  # type: ignore[arg-type]

    able = evolve(storage.capabilities, create=False, update=False, atomicity=AtomicityScope.NONE)
    return storage.with_hooks(able, _unconditional, put=put)


async def test_conditions_are_looked_up() -> None:
    """A create over an object and an update of another version are refused and change nothing; right ones
    go through."""
    storage = for_single_writer(_unconditional(ic.in_memory_storage()))
    first = await storage.put("a", b"1", IF_ABSENT)
    with pytest.raises(AlreadyExists):
        await storage.put("a", b"2", IF_ABSENT)
    second = await storage.put("a", b"3", IfVersion(first))
    for key, version in (("a", first), ("missing", second)):
        with pytest.raises(VersionMismatch):
            await storage.put(key, b"4", IfVersion(version))
    assert bytes((await storage.get_range("a"))[0]) == b"3"


def test_it_does_not_claim_safety() -> None:
    """The stand-in declares that it has the conditions, and that they hold between nobody."""
    able = for_single_writer(_unconditional(ic.in_memory_storage())).capabilities
    assert (able.create, able.update, able.commit_safe) == (True, True, False)


@pytest.mark.parametrize("spec_version", [1, 2])
def test_one_writer_commits(tmp_path: Path, spec_version: int) -> None:
    """Without conditional writes a repository is refused, and works for one writer who says so; what was
    committed is there for everybody."""
    storage = _unconditional(local_filesystem_storage(str(tmp_path)))
    with pytest.raises(ic.InvalidInputError, match="require_commit_safety=False"):
        ic.Repository.create(storage)
    repo = ic.Repository.create(storage, spec_version=spec_version, require_commit_safety=False)
    for number in range(3):
        with repo.transaction("main", message=f"{number}") as store:
            zarr.create_array(store, name=f"a{number}", shape=(4,), chunks=(2,), dtype="i4")[:] = number
    repo.create_tag("done", repo.lookup_branch("main"))
    again = ic.Repository.open(tmp_path)
    assert len(list(again.ancestry(tag="done"))) == 4
    assert again.verify(data=True).ok


def test_a_stale_commit_is_still_a_conflict(tmp_path: Path) -> None:
    """A session whose branch moved meanwhile cannot overwrite the other commit."""
    storage = _unconditional(local_filesystem_storage(str(tmp_path)))
    repo = ic.Repository.create(storage, require_commit_safety=False)
    slow, fast = repo.writable_session("main"), repo.writable_session("main")
    for session in (slow, fast):
        zarr.create_group(session.store)
    fast.commit("first")
    with pytest.raises(ic.ConflictError):
        slow.commit("second")


def test_it_pickles(tmp_path: Path) -> None:
    """Sent to another process it is the same stand-in."""
    storage = for_single_writer(_unconditional(local_filesystem_storage(str(tmp_path))))
    again = pickle.loads(pickle.dumps(storage))
    repo = ic.Repository.create(again, require_commit_safety=False)
    assert repo.list_branches() == {"main"}


def test_settings_switch_conditions_off(tmp_path: Path) -> None:
    """``unsafe_use_conditional_create`` and ``..._update`` set to false keep conditions away from the
    storage, as Icechunk's users of old servers know them."""
    storage = _unconditional(local_filesystem_storage(str(tmp_path)))
    claims = storage.with_hooks(
        evolve(storage.capabilities, create=True, update=True, atomicity=AtomicityScope.GLOBAL)
    )
    settings = ic.StorageSettings(unsafe_use_conditional_create=False, unsafe_use_conditional_update=False)
    config = ic.RepositoryConfig(storage=settings)
    repo = ic.Repository.create(claims, config)
    with repo.transaction("main", message="x") as store:
        zarr.create_group(store)
    assert len(list(ic.Repository.open(claims, config).ancestry(branch="main"))) == 2


def test_what_icechunk_stores_does_not_switch_locks_off(tmp_path: Path) -> None:
    """A configuration that Icechunk stored with a local directory says that there are no conditional updates,
    since it has none there. Ours stay atomic then, unless the caller says otherwise."""
    settings = ic.StorageSettings(unsafe_use_conditional_update=False, unsafe_use_metadata=False)
    directory = str(tmp_path / "repository")
    ic.Repository.create(directory, ic.RepositoryConfig(storage=settings))
    assert ic.Repository.open(directory).storage.capabilities.commit_safe
    assert ic.Repository.open_or_create(directory).storage.capabilities.commit_safe
    said_so = ic.Repository.open(directory, ic.RepositoryConfig(storage=settings))
    assert not said_so.storage.capabilities.commit_safe
