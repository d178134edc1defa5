"""The operations log: every change of the repo info is one entry (FORMAT.md, section 13.3)."""

from __future__ import annotations

from attrs import evolve

from icechunk_core.format.repo_info import RepoInfo, Update, UpdateKind, UpdateLog

__all__ = ["record_update"]


def record_update(
    info: RepoInfo, kind: UpdateKind, now_us: int, backup_name: str, page_size: int
) -> RepoInfo:
    """The repo info with one more entry at the head of its log.

    Parameters
    ----------
    info
        The new content, whose log is still the old one.
    now_us
        Time of the change; moved to just after the newest entry if it is not later.
    backup_name
        File name (without directory) of the copy of the *old* repo info. The entry that was newest until now
        gets it as its ``backup_path``.
    page_size
        Entries to keep in the repo info (``num_updates_per_repo_info_file``). Older ones are reached through
        ``repo_before_updates``.
    """
    old = info.updates
    if old:
        now_us = max(now_us, old[0].updated_at + 1)
    new = Update(kind=kind, updated_at=now_us, backup_path=None)
    changed = (new, evolve(old[0], backup_path=backup_name)) if old else (new,)
    # A sum, not unpacking: slices and sums of logs are not decoded, however long they are.
    candidates: UpdateLog = changed + old[1:]
    for position in range(max(page_size, 1), len(candidates)):
        # An entry without a path (made up by a migration) cannot end the page: nothing would lead to it.
        path = candidates[position].backup_path
        if path is not None:
            return evolve(info, updates=candidates[:position], repo_before_updates=path)
    return evolve(info, updates=candidates)
