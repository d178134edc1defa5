"""Metadata, status and feature flags."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pytest

import icechunk_core as ic
from icechunk_core.contract import Storage
from tests.repository.programs import commit_group

Call = Callable[[ic.Repository], Any]


# --- metadata


def test_metadata_is_replaced_or_added_to(repo2: ic.Repository) -> None:
    """`set_metadata` replaces everything; `update_metadata` adds keys and gives what there is then."""
    assert repo2.get_metadata() == {}
    repo2.set_metadata({"a": 1, "b": {"c": [None, True, 1.5, "x"]}})
    assert repo2.metadata == {"a": 1, "b": {"c": [None, True, 1.5, "x"]}}
    assert repo2.update_metadata({"b": 2, "d": []}) == {"a": 1, "b": 2, "d": []}
    assert repo2.get_metadata() == {"a": 1, "b": 2, "d": []}
    repo2.set_metadata({})
    assert repo2.metadata == {}


def test_metadata_is_seen_by_everybody(storage: Storage) -> None:
    """It is stored, not kept in the object."""
    ic.Repository.create(storage).set_metadata({"owner": "us"})
    assert ic.Repository.open(storage).metadata == {"owner": "us"}


def test_changing_the_dictionary_changes_nothing(repo2: ic.Repository) -> None:
    """`metadata` gives a copy."""
    repo2.set_metadata({"a": 1})
    repo2.metadata["b"] = 2
    assert repo2.metadata == {"a": 1}


@pytest.mark.parametrize(
    "value", [None, [1], {"a": object()}, {1: 2}, {"a": {1: 2}}, {"a": {1, 2}}, {"a": b""}]
)
def test_metadata_is_json(repo2: ic.Repository, value: Any) -> None:
    """Anything that JSON does not have is refused before anything is written."""
    with pytest.raises(TypeError):
        repo2.set_metadata(value)
    with pytest.raises(TypeError):
        repo2.update_metadata(value)
    assert len(list(repo2.ops_log())) == 1


def test_values_that_json_has_under_another_name(repo2: ic.Repository) -> None:
    """NumPy's numbers and tuples are stored as what they are in JSON; NaN and infinities as null."""
    repo2.set_metadata(
        {"f": np.float32(1.5), "i": np.int64(7), "t": (1, (2,)), "nan": float("nan"), "inf": float("-inf")}
    )
    assert repo2.metadata == {"f": 1.5, "i": 7, "t": [1, [2]], "nan": None, "inf": None}


def test_large_integers(repo2: ic.Repository) -> None:
    """Integers of 64 bits are exact; beyond that they become floats."""
    repo2.set_metadata({"low": -(2**63), "high": 2**64 - 1, "beyond": 2**64})
    assert repo2.metadata == {"low": -(2**63), "high": 2**64 - 1, "beyond": 2.0**64}


def test_updates_of_metadata_do_not_overwrite_each_other(storage: Storage) -> None:
    """When several add keys at once, all keys are there afterwards."""
    ic.Repository.create(storage)

    def add(number: int) -> None:
        ic.Repository.open(storage).update_metadata({str(number): number})

    threads = [threading.Thread(target=add, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ic.Repository.open(storage).metadata == {str(number): number for number in range(6)}


# --- status


def test_a_new_repository_is_online(repo2: ic.Repository) -> None:
    """Without a reason, since its creation."""
    status = repo2.get_status()
    assert status.availability is ic.RepoAvailability.online
    assert status.limited_availability_reason is None
    assert datetime.now(UTC) - status.set_at < timedelta(minutes=5)
    assert repo2.status == status


_WRITES: dict[str, Call] = {
    "session": lambda repo: repo.writable_session("main"),
    "branch": lambda repo: repo.create_branch("b", repo.lookup_branch("main")),
    "delete branch": lambda repo: repo.delete_branch("dev"),
    "reset": lambda repo: repo.reset_branch("dev", repo.lookup_branch("main")),
    "tag": lambda repo: repo.create_tag("t", repo.lookup_branch("main")),
    "delete tag": lambda repo: repo.delete_tag("v1"),
    "metadata": lambda repo: repo.set_metadata({"a": 1}),
    "update metadata": lambda repo: repo.update_metadata({"a": 1}),
    "config": lambda repo: repo.save_config(),
    "flag": lambda repo: repo.set_feature_flag("move_node", False),
}


@pytest.mark.parametrize("call", _WRITES.values(), ids=list(_WRITES))
def test_a_read_only_repository_refuses_changes(call: Call) -> None:
    """Each change is a `ReadOnlyError` with the reason, and leaves no trace; afterwards it works."""
    repo = ic.Repository.create("memory:")
    tip = commit_group(repo, "a")
    repo.create_branch("dev", tip)
    repo.create_tag("v1", tip)
    repo.set_status(ic.RepoStatus(ic.RepoAvailability.read_only, limited_availability_reason="moving house"))
    before = len(list(repo.ops_log()))
    with pytest.raises(ic.ReadOnlyError, match="moving house") as raised:
        call(repo)
    assert raised.value.kind == ic.ErrorKind.READ_ONLY_REPOSITORY
    assert len(list(repo.ops_log())) == before
    repo.set_status(ic.RepoStatus(ic.RepoAvailability.online))
    call(repo)


def test_a_read_only_repository_can_be_read(repo2: ic.Repository) -> None:
    """Reading sessions, refs and history do not care; a commit of an open session is refused and not lost."""
    commit_group(repo2, "a")
    session = repo2.writable_session("main")
    repo2.set_status(ic.RepoStatus(ic.RepoAvailability.read_only))
    assert repo2.list_branches() == {"main"}
    assert len(list(repo2.ancestry(branch="main"))) == 2
    assert repo2.readonly_session("main").read_only
    assert repo2.status.availability is ic.RepoAvailability.read_only
    with pytest.raises(ic.ReadOnlyError):
        session.commit("too late", allow_empty=True)
    repo2.set_status(ic.RepoStatus(ic.RepoAvailability.online))
    session.commit("now", allow_empty=True)
    assert len(list(repo2.ancestry(branch="main"))) == 3


def test_the_time_of_a_status_is_the_callers(repo2: ic.Repository) -> None:
    """``set_at`` is stored as given, in whatever zone; without one it is now."""
    at = datetime(2020, 1, 2, 3, 4, 5, 678901, timezone(timedelta(hours=2)))
    repo2.set_status(ic.RepoStatus(ic.RepoAvailability.online, set_at=at, limited_availability_reason="x"))
    status = repo2.get_status()
    assert status.set_at == at
    assert status.set_at.tzinfo is UTC
    assert status.limited_availability_reason == "x"
    with pytest.raises(TypeError, match="time zone"):
        ic.RepoStatus(ic.RepoAvailability.online, datetime(2020, 1, 1))
    with pytest.raises(TypeError, match="RepoAvailability"):
        ic.RepoStatus(1)


def test_availability_is_a_number_too() -> None:
    """The values are those of the format."""
    assert {int(value): value.name for value in ic.RepoAvailability} == {0: "online", 1: "read_only"}


# --- feature flags


def settings(repo: ic.Repository) -> dict[str, tuple[bool | None, bool]]:
    return {flag.name: (flag.setting, flag.enabled) for flag in repo.feature_flags()}


def test_flags_are_on_by_default(repo2: ic.Repository) -> None:
    """There are three, with fixed numbers, all on and none set."""
    flags = repo2.feature_flags()
    assert [(flag.id, flag.name) for flag in flags] == [
        (3, "move_node"),
        (4, "create_tag"),
        (5, "delete_tag"),
    ]
    assert all(flag.default_enabled and flag.enabled and flag.setting is None for flag in flags)
    assert repo2.enabled_feature_flags() == flags
    assert repo2.disabled_feature_flags() == []


def test_flags_are_switched_off_on_and_back(repo2: ic.Repository) -> None:
    """False, True and None are three different settings; others stay as they are."""
    repo2.set_feature_flag("create_tag", False)
    assert settings(repo2)["create_tag"] == (False, False)
    assert [flag.name for flag in repo2.disabled_feature_flags()] == ["create_tag"]
    assert [flag.name for flag in repo2.enabled_feature_flags()] == ["move_node", "delete_tag"]
    repo2.set_feature_flag("create_tag", True)
    assert settings(repo2)["create_tag"] == (True, True)
    repo2.set_feature_flag("create_tag", None)
    assert settings(repo2)["create_tag"] == (None, True)


def test_a_flag_that_is_off_forbids(repo2: ic.Repository) -> None:
    """Creating and deleting tags follow their flags."""
    tip = repo2.lookup_branch("main")
    repo2.set_feature_flag("create_tag", False)
    with pytest.raises(ic.SessionStateError, match="create_tag") as raised:
        repo2.create_tag("v1", tip)
    assert raised.value.kind == ic.ErrorKind.FEATURE_FLAG_DISABLED
    repo2.set_feature_flag("create_tag", None)
    repo2.create_tag("v1", tip)
    repo2.set_feature_flag("delete_tag", False)
    with pytest.raises(ic.SessionStateError, match="delete_tag"):
        repo2.delete_tag("v1")
    repo2.set_feature_flag("delete_tag", True)
    repo2.delete_tag("v1")
    assert repo2.list_tags() == set()


def test_unknown_flags_are_refused(repo2: ic.Repository) -> None:
    """The message lists those that exist."""
    with pytest.raises(ic.InvalidInputError, match="move_node") as raised:
        repo2.set_feature_flag("fly", True)
    assert raised.value.kind == ic.ErrorKind.INVALID_FEATURE_FLAG


# --- both versions

_SPEC_2_ONLY: dict[str, Call] = {
    "metadata": lambda repo: repo.metadata,
    "get_metadata": lambda repo: repo.get_metadata(),
    "set_metadata": lambda repo: repo.set_metadata({}),
    "update_metadata": lambda repo: repo.update_metadata({}),
    "status": lambda repo: repo.status,
    "set_status": lambda repo: repo.set_status(ic.RepoStatus(ic.RepoAvailability.online)),
    "feature_flags": lambda repo: repo.feature_flags(),
    "enabled_feature_flags": lambda repo: repo.enabled_feature_flags(),
    "disabled_feature_flags": lambda repo: repo.disabled_feature_flags(),
    "set_feature_flag": lambda repo: repo.set_feature_flag("no such", True),
    "ops_log": lambda repo: repo.ops_log(),
    "inspect_repo_info": lambda repo: repo.inspect_repo_info(),
}


@pytest.mark.parametrize("call", _SPEC_2_ONLY.values(), ids=list(_SPEC_2_ONLY))
def test_spec_1_has_none_of_this(call: Call) -> None:
    """It is a `FormatError` that says that spec 2 is needed, raised by the call itself."""
    repo = ic.Repository.create("memory:", spec_version=1)
    with pytest.raises(ic.FormatError, match="spec 2") as raised:
        call(repo)
    assert raised.value.kind == ic.ErrorKind.UNSUPPORTED_SPEC_VERSION


async def test_the_async_twins(repo2: ic.Repository) -> None:
    """Each method exists as a coroutine too, and does the same."""
    await repo2.set_metadata_async({"a": 1})
    assert await repo2.update_metadata_async({"b": 2}) == await repo2.get_metadata_async() == {"a": 1, "b": 2}
    await repo2.set_status_async(ic.RepoStatus(ic.RepoAvailability.read_only))
    assert (await repo2.get_status_async()).availability is ic.RepoAvailability.read_only
    await repo2.set_status_async(ic.RepoStatus(ic.RepoAvailability.online))
    await repo2.set_feature_flag_async("move_node", False)
    assert [flag.name for flag in await repo2.disabled_feature_flags_async()] == ["move_node"]
    assert len(await repo2.enabled_feature_flags_async()) == 2
    assert len(await repo2.feature_flags_async()) == 3
    kinds = [type(update.kind).__name__ async for update in repo2.ops_log_async()]
    assert kinds == [
        "FeatureFlagChanged", "RepoStatusChanged", "RepoStatusChanged",
        "MetadataChanged", "MetadataChanged", "RepoInitialized",
    ]  # fmt: skip


def test_values_show_and_pickle(repo2: ic.Repository) -> None:
    """They print line by line, have an HTML form, and survive pickling."""
    for value in (repo2.status, repo2.feature_flags()[0], next(iter(repo2.ops_log()))):
        assert str(value).startswith(f"<icechunk_core.{type(value).__name__}>\n")
        assert repr(value).startswith(f"{type(value).__name__}(")
        assert type(value).__name__ in value._repr_html_()
        assert pickle.loads(pickle.dumps(value)) == value
    assert "availability: online" in str(repo2.status)


def test_html_is_escaped() -> None:
    """A reason cannot bring tags into a page."""
    status = ic.RepoStatus(ic.RepoAvailability.read_only, limited_availability_reason="<script>")
    assert "<script>" not in status._repr_html_()
    assert "&lt;script&gt;" in status._repr_html_()
