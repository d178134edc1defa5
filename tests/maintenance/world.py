"""A repository in use: refs, readers, writers and forks, with expiry and garbage collection among them.

Objects written before an ``age`` step are old, all others are young; garbage collection is
always told to spare the young ones. After each one, everything that is in use must read as
it did: every version that a ref leads to, and every session that was opened since and whose
base is young or in use.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from attrs import define, field

import icechunk_core
from icechunk_core.errors import IcechunkError, RebaseFailedError
from icechunk_core.transaction.solvers import BasicConflictSolver
from tests.interop.implementations import OURS, contents, create, open_repo, put
from tests.interop.nodes import GROUP, array_json
from tests.maintenance.support import keys, set_age

OLD = 1_700_000_000
LIMIT = datetime.fromtimestamp(OLD + 10, UTC)
PAST = [
    "commit",
    "commit",
    "branch",
    "tag",
    "tag",
    "reset",
    "delete branch",
    "delete tag",
    "expire",
    "rewrite",
]
"""What made the repository what it is."""
PRESENT = [
    "commit",
    "branch",
    "tag",
    "reset",
    "reset",
    "read",
    "write",
    "more",
    "fork",
    "flush",
    "finish",
    "expire",
]
"""What is done since the limit."""
MEANWHILE = [
    "commit",
    "write",
    "more",
    "read",
    "tag",
    "branch",
    "reset",
    "fork",
    "flush",
    "finish",
    "expire",
    "delete branch",
    "delete tag",
]
"""What may happen while garbage is being collected."""
SAFE_IN_SPEC_1 = ["commit", "write", "read", "more", "fork", "flush", "finish", "delete branch", "delete tag"]
"""Without a common object to swap, nothing stops a new ref to a version that is being deleted."""

Step = tuple[str, int]


@define(eq=False)
class Use:
    """A session in use.

    Attributes
    ----------
    expected
        What its store holds.
    base
        Id of the snapshot that it reads from.
    """

    session: Any
    base: str
    expected: dict[str, bytes]
    branch: str | None = None
    forks: list[Any] = field(factory=list)


@define
class World:
    """The repository, its users, and what every version holds."""

    root: Path
    spec_version: int
    versions: dict[str, dict[str, bytes]] = field(factory=dict)
    uses: list[Use] = field(factory=list)
    counter: int = 0

    def __attrs_post_init__(self) -> None:
        repo = create(OURS, self.root, spec_version=self.spec_version)
        self.remember(repo)
        session = repo.writable_session("main")
        put(session, {"zarr.json": GROUP})
        put(session, {f"{name}/zarr.json": array_json((4000,), (1000,)) for name in "xy"})
        put(session, {f"{name}/c/{n}": name.encode() * 600 for name in "xy" for n in range(2)})
        session.commit("begin")
        self.remember(repo)

    def repo(self) -> Any:
        """The repository, opened anew: nothing is cached."""
        return open_repo(OURS, self.root)

    def remember(self, repo: Any) -> None:
        """Note what the newest versions hold."""
        for branch in repo.list_branches():
            tip = repo.lookup_branch(branch)
            if tip not in self.versions:
                self.versions[tip] = contents(repo.readonly_session(snapshot_id=tip).store)

    def data(self) -> dict[str, bytes]:
        """A chunk that differs from all before, large or small."""
        self.counter += 1
        value = b"%d;" % self.counter
        return {f"{'xy'[self.counter % 2]}/c/{self.counter % 3}": value * (300 if self.counter % 3 else 1)}

    # --- steps

    def run(self, step: Step) -> None:
        """One step; what a repository refuses (a taken name, for example) is left undone."""
        action, choice = step
        repo = self.repo()
        try:
            getattr(self, "do_" + action.replace(" ", "_"))(repo, choice)
        except RebaseFailedError:
            raise
        except IcechunkError as error:
            if error.kind not in EXPECTED:
                raise
        self.remember(self.repo())

    def pick(self, items: Any, choice: int) -> Any:
        ordered = sorted(items)
        return ordered[choice % len(ordered)]

    def do_commit(self, repo: Any, choice: int) -> None:
        session = repo.writable_session(self.pick(repo.list_branches(), choice))
        put(session, self.data())
        session.commit(f"commit {self.counter}")

    def known(self, repo: Any, choice: int) -> str:
        """Some version that a ref leads to, but the empty first one."""
        refs = [{"branch": name} for name in sorted(repo.list_branches())]
        refs += [{"tag": name} for name in sorted(repo.list_tags())]
        chain = list(repo.ancestry(**refs[choice % len(refs)]))[:-1]
        return str(chain[min(choice // 7 % 4, len(chain) - 1)].id)

    def do_branch(self, repo: Any, choice: int) -> None:
        self.counter += 1
        repo.create_branch(f"b{self.counter}", self.known(repo, choice))

    def do_tag(self, repo: Any, choice: int) -> None:
        self.counter += 1
        repo.create_tag(f"t{self.counter}", self.known(repo, choice))

    def do_reset(self, repo: Any, choice: int) -> None:
        """Mostly one or two commits back."""
        branch = self.pick(repo.list_branches(), choice)
        chain = list(repo.ancestry(branch=branch))[:-1]
        repo.reset_branch(branch, chain[min(1 + choice % 2, len(chain) - 1)].id)

    def do_delete_branch(self, repo: Any, choice: int) -> None:
        repo.delete_branch(self.pick(repo.list_branches(), choice))

    def do_delete_tag(self, repo: Any, choice: int) -> None:
        if repo.list_tags():
            repo.delete_tag(self.pick(repo.list_tags(), choice))

    def do_read(self, repo: Any, choice: int) -> None:
        version = self.known(repo, choice)
        session = repo.readonly_session(snapshot_id=version)
        self.uses.append(Use(session, version, self.versions[version]))

    def do_write(self, repo: Any, choice: int) -> None:
        branch = self.pick(repo.list_branches(), choice)
        session = repo.writable_session(branch)
        use = Use(session, session.snapshot_id, dict(self.versions[session.snapshot_id]), branch)
        self.uses.append(use)
        self.write_to(use)

    def writers(self) -> list[Use]:
        return [use for use in self.uses if use.branch is not None]

    def write_to(self, use: Use) -> None:
        data = self.data()
        put(use.session, data)
        use.expected.update(data)

    def do_more(self, repo: Any, choice: int) -> None:
        if self.writers():
            self.write_to(self.writers()[choice % len(self.writers())])

    def do_fork(self, repo: Any, choice: int) -> None:
        """A fork goes to another process, writes there, and comes back when its session is committed."""
        if self.writers():
            use = self.writers()[choice % len(self.writers())]
            fork = pickle.loads(pickle.dumps(use.session.fork()))
            data = self.data()
            put(fork, data)
            use.forks.append((fork, fork.snapshot_id, {**use.expected, **data}, data))

    def do_flush(self, repo: Any, choice: int) -> None:
        """Uncommitted work saved as a version that no ref leads to."""
        if self.writers():
            use = self.writers()[choice % len(self.writers())]
            use.base = use.session.flush("saved")
            use.branch, use.forks = None, []

    def do_finish(self, repo: Any, choice: int) -> None:
        """Merge the forks of a writer and commit."""
        if not self.writers():
            return
        use = self.writers()[choice % len(self.writers())]
        self.uses.remove(use)
        for fork, _, _, _ in use.forks:
            use.session.merge(fork)
        use.session.commit("finished", rebase_with=BasicConflictSolver())

    def do_rewrite(self, repo: Any, choice: int) -> None:
        repo.rewrite_manifests("rewritten", branch=self.pick(repo.list_branches(), choice))

    def do_age(self, repo: Any, choice: int) -> None:
        """Time passes: whoever is still at work began before the limit and has no promise any more."""
        for key in keys(self.root):
            set_age(self.root, key, OLD)
        self.uses.clear()

    def do_expire(self, repo: Any, choice: int) -> None:
        chain = list(repo.ancestry(branch=self.pick(repo.list_branches(), choice)))
        before = chain[choice // 5 % len(chain)].written_at + timedelta(microseconds=choice % 2)
        repo.expire_snapshots(
            before, delete_expired_branches=choice % 3 == 0, delete_expired_tags=choice % 4 == 0
        )

    # --- the promise

    def collect(self, choice: int, meanwhile: list[Step]) -> None:
        """Collect garbage while others go on working, then look whether everything in use is there."""
        allowed = MEANWHILE if self.spec_version > 1 else SAFE_IN_SPEC_1
        steps = [step for step in meanwhile if step[0] in allowed]

        def meanwhile_step() -> None:
            if steps:
                self.run(steps.pop())

        storage = interrupted(
            icechunk_core.local_filesystem_storage(str(self.root)),
            meanwhile_step,
            1 + choice % 20,
        )
        before = {id(use) for use in self.uses}
        protected = [use for use in self.uses if self.is_protected(use)]
        old = {path.name for path in (self.root / "snapshots").iterdir() if path.stat().st_mtime <= OLD + 10}
        icechunk_core.Repository.open(storage).garbage_collect(LIMIT)
        protected += [use for use in self.uses if id(use) not in before]
        # Who reads an old version has no promise once the last ref that led to it is deleted.
        gone = old - self.reachable(self.repo())
        self.uses = [use for use in self.uses if use in protected and not gone & self.bases(use)]
        self.check()

    def bases(self, use: Use) -> set[str]:
        """The versions that a session and its forks read from."""
        return {use.base, *(base for _, base, _, _ in use.forks)}

    def is_protected(self, use: Use) -> bool:
        """Whether a session that began after the limit reads from a version that is young or in use."""
        return all(map(self.stays, self.bases(use)))

    def stays(self, version: str) -> bool:
        path = self.root / "snapshots" / version
        return path.stat().st_mtime > OLD + 10 or version in self.reachable(self.repo())

    def reachable(self, repo: Any) -> set[str]:
        """Every version that a ref leads to."""
        refs = [{"branch": name} for name in repo.list_branches()]
        refs += [{"tag": name} for name in repo.list_tags()]
        return {entry.id for ref in refs for entry in repo.ancestry(**ref)}

    def check(self) -> None:
        """Refs, sessions and forks read what they should."""
        repo = self.repo()
        for version in self.reachable(repo):
            found = contents(repo.readonly_session(snapshot_id=version).store)
            assert found == self.versions[version], f"version {version}"
        for use in self.uses:
            fresh = pickle.loads(pickle.dumps(use.session)) if use.branch is None else use.session
            fresh._state.context.assets.__init__(  # forget what is cached
                fresh._state.context.storage, fresh._state.context.settings, self.spec_version
            )
            assert contents(fresh.store) == use.expected
            for fork, _, expected, _ in use.forks:
                assert contents(fork.store) == expected


EXPECTED = {
    "cannot-delete-main",
    "ref-not-found",
    "snapshot-not-found",
    "branch-not-found",
    "commit-conflict",
    "branch-update-conflict",
    "no-changes-to-commit",
}
"""Refusals that have nothing to do with what was deleted: names that are gone, branches that moved."""


def interrupted(storage: Any, act: Callable[[], Any], every: int) -> Any:
    """A storage before each n-th operation of which somebody else acts."""
    state = {"calls": 0, "busy": False}

    def maybe() -> None:
        state["calls"] += 1
        if state["calls"] % every == 0 and not state["busy"]:
            state["busy"] = True
            act()
            state["busy"] = False

    def around(name: str) -> Callable[..., Any]:
        really = storage.hook(name)

        async def call(*arguments: Any) -> Any:
            maybe()
            return await really(*arguments)

        return call

    really_list = storage.hook("list")

    async def list_(prefix: str, start_after: str | None) -> Any:
        maybe()
        async for item in really_list(prefix, start_after):
            yield item

    return storage.with_hooks(
        get_range=around("get_range"), put=around("put"), delete=around("delete"), list=list_
    )
