"""Group J: pickling, fork, and keeping secrets."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import pickle
import threading
import traceback
import warnings
from collections.abc import Callable
from typing import Any

from icechunk_conformance.expect import Failure, NotApplicable, read, same, verify
from icechunk_conformance.prefixed import prefixed
from icechunk_conformance.racing import amplified, backend_files, quick_switching
from icechunk_conformance.registry import check
from icechunk_conformance.target import Target
from icechunk_core import drive
from icechunk_core.clock import SystemClock
from icechunk_core.contract import IF_ABSENT, From, IfVersion, Storage, Version
from icechunk_core.errors import IcechunkError, StorageError


@check("J01", "A storage pickles, and comes back as the same place")
async def pickles(target: Target) -> None:
    """A storage that goes through ``pickle`` and back in the same process reads and writes the same
    objects, is equal to the original and has its capabilities. So does one that was used, and one that
    was closed is open when it comes back."""
    client = await target.client()
    await client.put("object", b"before")
    raw = target.location.raw()
    await target.scoped(raw).head("object")
    copy = _round_trip(raw)
    verify(copy == raw, "the unpickled storage is not equal to the original")
    same(copy.capabilities, raw.capabilities, "capabilities of the unpickled storage")
    other = target.scoped(copy)
    same(await read(other, "object"), b"before", "bytes read through the unpickled storage")
    await other.put("object", b"after")
    same(await read(client, "object"), b"after", "bytes written through the unpickled storage")
    await raw.close()
    reopened = target.scoped(_round_trip(raw))
    same(await read(reopened, "object"), b"after", "bytes read through a storage pickled after it was closed")


def _round_trip(storage: Storage) -> Storage:
    try:
        copy: Storage = pickle.loads(pickle.dumps(storage))
    except Exception as error:
        raise Failure(f"the storage does not pickle: {type(error).__name__}: {error}") from error
    return copy


@check("J02", "A pickled storage works in another process, or says why not")
async def pickles_elsewhere(target: Target) -> None:
    """Unpickled in a fresh process a storage reads and writes the same objects. One that lives in its
    process (memory) raises a `StorageError` that says so; one that declares atomicity between processes
    has to work."""
    client = await target.client()
    await client.put("object", b"from here")
    target.remember(["answer"])
    reopen = target.reopener()
    arguments = [(reopen, target.prefix)]
    (outcome,) = await asyncio.to_thread(target.location.workers().map, _answer_elsewhere, arguments)
    name, text = outcome
    if name == "answered":
        same(text, "from here", "bytes read in another process")
        same(await read(client, "answer"), b"from there", "bytes written in another process")
        return
    verify(name == "refused", f"in another process: {text}")
    declared = target.capabilities.atomicity.name.lower()
    verify(
        target.capabilities.atomicity <= 1,
        f"atomicity {declared} is declared, but the storage does not open in another process: {text}",
    )
    verify(len(text) >= 20, f"the error in another process does not say why: {text!r}")


async def _answer_elsewhere(reopen: Callable[[], Storage], prefix: str) -> tuple[str, str]:
    try:
        client = prefixed(reopen(), prefix, set())
        found = await read(client, "object")
        await client.put("answer", b"from there")
        await client.close()
    except StorageError as error:
        return "refused", str(error)
    except Exception as error:
        return "failed", f"{type(error).__name__}: {error}"
    return "answered", found.decode()


# --- secrets -----------------------------------------------------------------


def _without_secrets(target: Target, text: str, where: str) -> None:
    for number, secret in enumerate(target.secrets, 1):
        verify(secret not in text, f"secret number {number} of the configuration shows in {where}")


@check(
    "J03",
    "Secrets do not show in repr",
    known_failure="Credentials in logs and notebooks, printed with the object that holds them.",
)
async def secrets_in_repr(target: Target) -> None:
    """``repr`` and ``str`` of a storage and of its configuration contain no secret (the fields declared with
    ``repr=False``, and texts that the caller named)."""
    _need_secrets(target)
    raw = target.location.raw()
    for name, value in {"the storage": raw, "its configuration": raw.config}.items():
        _without_secrets(target, repr(value), f"the repr of {name}")
        _without_secrets(target, str(value), f"the str of {name}")
        _without_secrets(target, f"{value}", f"the format of {name}")
    await raw.close()


@check("J04", "Secrets do not show in errors")
async def secrets_in_errors(target: Target) -> None:
    """The errors of failing operations (missing key, wrong key, wrong range, lost condition, closed
    client) contain no secret, not in their message, ``repr`` or traceback."""
    _need_secrets(target)
    for error in await _errors(target):
        name = type(error).__name__
        _without_secrets(target, str(error), f"the message of {name}")
        _without_secrets(target, repr(error), f"the repr of {name}")
        _without_secrets(target, "".join(traceback.format_exception(error)), f"the traceback of {name}")


def _need_secrets(target: Target) -> None:
    if not target.secrets:
        raise NotApplicable("the configuration has no secret, and none was named")


async def _errors(target: Target) -> list[IcechunkError]:
    """An error of every kind that can be caused at will."""
    client = await target.client()
    capabilities = target.capabilities
    operations: list[Callable[[], Any]] = [
        lambda: client.get_range("missing"),
        lambda: client.head("missing"),
        lambda: client.put("../wrong", b""),
        lambda: client.get_range("object", From(5000)),
    ]
    if not capabilities.read_only:
        await client.put("object", b"x")
    operations.append(lambda: client.put("object", b"x", IF_ABSENT))
    operations.append(lambda: client.put("object", b"x", IfVersion(Version("other"))))
    if not capabilities.metadata:
        operations.append(lambda: client.put("object", b"x", metadata={"a": "b"}))
    closed = await target.client()
    await closed.close()
    operations.append(lambda: closed.head("object"))
    errors: list[IcechunkError] = []
    for operation in operations:
        try:
            await operation()
        except IcechunkError as error:
            errors.append(error)
    return errors


@check("J05", "Errors survive pickling")
async def errors_pickle(target: Target) -> None:
    """Errors travel through process pools: unpickled they have the same type, message, kind and key."""
    for error in await _errors(target):
        try:
            copy = pickle.loads(pickle.dumps(error))
        except Exception as problem:
            raise Failure(f"{type(error).__name__} does not pickle: {problem}") from problem
        same(type(copy), type(error), "type of an unpickled error")
        same(str(copy), str(error), "message of an unpickled error")
        same(copy.kind, error.kind, "kind of an unpickled error")
        same(getattr(copy, "key", None), getattr(error, "key", None), "key of an unpickled error")


# --- fork --------------------------------------------------------------------


@check(
    "J06",
    "A forked child can go on",
    requires=("fork_safe",),
    known_failure="Locks held and connections shared at the moment of a fork: the child hangs.",
)
async def survives_fork(target: Target) -> None:
    """Where ``fork_safe`` is declared, a child forked while another thread was in the middle of
    operations reads what was written before, and reads and writes objects of its own, with the storage
    object that it inherited."""
    if "fork" not in multiprocessing.get_all_start_methods():
        raise NotApplicable("this system has no fork")
    forks = 8
    target.remember([f"child-{number}" for number in range(forks)])
    client = await target.client()
    await client.put("object", b"before the fork")
    arguments = [(target.reopener(), target.prefix, forks, target.budget.timeout / 6)]
    (problem,) = await asyncio.to_thread(target.location.workers().map, fork_children, arguments)
    verify(problem == "", f"a forked child {problem}")
    for number in range(forks):
        same(await read(client, f"child-{number}"), b"child", "bytes that a forked child wrote")


def fork_children(reopen: Callable[[], Storage], prefix: str, forks: int, patience: float) -> str:
    """Fork several children while a thread is busy with the storage; what went wrong, or nothing."""
    raw = reopen()
    client = prefixed(raw, prefix, set())
    stop = threading.Event()

    def busy() -> None:
        amplified(backend_files(raw), 1)
        while not stop.is_set():
            _run(client, client.put("busy", b"x" * 1000))

    thread = threading.Thread(target=busy, daemon=True)
    with quick_switching():
        thread.start()
        try:
            for number in range(forks):
                problem = _fork_one(client, number, patience)
                if problem:
                    return problem
        finally:
            stop.set()
            thread.join(10)
    _run(client, client.delete(["busy"]))
    _run(client, client.close())
    return ""


def _fork_one(client: Storage, number: int, patience: float) -> str:
    with warnings.catch_warnings():
        # Forking beside threads is what is tested.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        code = 1
        try:
            same(bytes(_run(client, client.get_range("object"))[0]), b"before the fork", "bytes in the child")
            _run(client, client.put(f"child-{number}", b"child"))
            same(
                bytes(_run(client, client.get_range(f"child-{number}"))[0]),
                b"child",
                "own bytes in the child",
            )
            code = 0
        finally:
            os._exit(code)
    clock = SystemClock()
    deadline = clock.monotonic() + patience
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return "" if status == 0 else f"failed (status {status})"
        if clock.monotonic() > deadline:
            os.kill(child, 9)
            os.waitpid(child, 0)
            return f"hung for {patience:.0f} seconds"
        clock.sleep(0.002)


def _run(client: Storage, operation: Any) -> Any:
    if client.may_suspend:
        return asyncio.run(operation)
    return drive.run_direct(operation)
