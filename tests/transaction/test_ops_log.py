"""Pages of the operations log."""

from __future__ import annotations

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from icechunk_core.format.repo_info import BranchCreated as Entry
from icechunk_core.format.repo_info import RepoInfo, Update, UpdateLog, decode_repo_info, encode_repo_info
from icechunk_core.transaction.ops_log import record_update
from tests.transaction.repo_model import repo_info


def text_of_the_format(
    info: RepoInfo, new: Update, backup: str, size: int
) -> tuple[list[Update], str | None]:
    """The rules of FORMAT.md, section 13.3, word by word."""
    old = list(info.updates)
    candidates = [new, evolve(old[0], backup_path=backup), *old[1:]]
    emitted: list[Update] = []
    for entry in candidates:
        if len(emitted) >= size and entry.backup_path is not None:
            return emitted, entry.backup_path
        emitted.append(entry)
    return emitted, info.repo_before_updates


PAGES = st.lists(st.booleans(), min_size=1, max_size=12)


@given(PAGES, st.integers(1, 8), st.none() | st.just("older"))
def test_page_follows_the_format(paths: list[bool], size: int, before: str | None) -> None:
    """Any page, entries without a path in any place, any size: exactly what the format says."""
    updates = [
        Update(Entry(str(n)), 1000 - n, f"backup{n}" if with_path and n else None)
        for n, with_path in enumerate(paths)
    ]
    info = evolve(repo_info(None), updates=UpdateLog(updates), repo_before_updates=before)
    after = record_update(info, Entry("new"), 5000, "now", size)
    page, rest = text_of_the_format(info, Update(Entry("new"), 5000, None), "now", size)
    assert list(after.updates) == page
    assert after.repo_before_updates == rest


@given(st.integers(1, 5), st.integers(1, 20))
def test_whole_log_is_found_through_the_pages(size: int, count: int) -> None:
    """Following the backups from page to page gives every entry once, newest first."""
    info, backups = repo_info(None), dict[str, bytes]()
    for number in range(count):
        backups[f"b{number}"] = encode_repo_info(info)
        info = record_update(info, Entry(str(number)), 100 + number, f"b{number}", size)
        info = decode_repo_info(encode_repo_info(info), name="repo")
        assert len(info.updates) <= size
    found = list(info.updates)
    while info.repo_before_updates is not None:
        info = decode_repo_info(backups[info.repo_before_updates], name="repo")
        found += list(info.updates)
    names = [getattr(update.kind, "name", "first") for update in found]
    assert names == [*map(str, range(count - 1, -1, -1)), "first"]


def test_backups_name_the_entry_they_start_with() -> None:
    """The path of an entry is the copy of the repo info in which that entry is the newest."""
    info = repo_info(None)
    first = record_update(info, Entry("one"), 100, "copy of zero", 10)
    second = record_update(first, Entry("two"), 200, "copy of one", 10)
    assert [update.backup_path for update in second.updates] == [None, "copy of one", "copy of zero"]


def test_time_never_goes_back() -> None:
    """A clock behind that of the last writer gives the next possible time."""
    info = record_update(repo_info(None), Entry("one"), 1000, "b", 10)
    later = record_update(info, Entry("two"), 400, "c", 10)
    assert [update.updated_at for update in later.updates] == [1001, 1000, 10]
