"""Other processes: fresh interpreters that run jobs on clients of their own."""

from __future__ import annotations

import contextlib
import os
import pickle
import select
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from typing import IO, Any

from icechunk_conformance.expect import Failure

__all__ = ["WorkerPool", "line_up", "read_message", "write_message"]

_LENGTH = struct.Struct("<Q")


def write_message(stream: IO[bytes], value: object) -> None:
    """One pickled value, preceded by its length."""
    data = pickle.dumps(value)
    stream.write(_LENGTH.pack(len(data)) + data)
    stream.flush()


def read_message(stream: IO[bytes]) -> Any:
    """The next value; `EOFError` when the other side is gone."""
    head = stream.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        raise EOFError
    return pickle.loads(stream.read(_LENGTH.unpack(head)[0]))


READY = "ready"
GO = "go"
_at_the_line: list[Callable[[], None]] = []
"""In a worker: how to tell the pool that it is ready, and to wait for the others."""


def line_up() -> None:
    """In a job: wait until all others of a `WorkerPool.race` have come this far."""
    for wait in _at_the_line:
        wait()


class WorkerPool:
    """Some fresh interpreters that run module-level functions (coroutine or plain) at the same time.

    They are started on first use, like ``multiprocessing``'s *spawn* does it, without its import of the
    caller's main module. Nothing is inherited; jobs and results are pickled.
    """

    def __init__(self, count: int, *, timeout: float) -> None:
        self.timeout = timeout
        self.broken = False
        self._count = count
        self._workers: list[subprocess.Popen[bytes]] = []

    def __len__(self) -> int:
        return self._count

    def _start(self, count: int) -> None:
        """Have that many processes; nobody races before all of them have started."""
        environment = dict(os.environ, PYTHONPATH=os.pathsep.join(path for path in sys.path if path))
        fresh = [
            subprocess.Popen(
                [sys.executable, "-m", "icechunk_conformance.worker_main"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=environment,
            )
            for _ in range(count - len(self._workers))
        ]
        self._workers += fresh
        for worker in fresh:
            write_message(_pipe(worker.stdin), (_ready, ()))
        for worker in fresh:
            read_message(_pipe(worker.stdout))

    def map(self, job: Callable[..., Any], arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Run ``job(*arguments[i])`` in process ``i``, all at the same time; results in order.

        Raises
        ------
        Failure
            If a process died, did not answer in time, or the job raised.
        """
        return self._run(job, arguments, line_up=False)

    def race(self, job: Callable[..., Any], arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
        """As `map`, for a job that calls `line_up` once: nobody goes on from there before all have come
        there, so that no process has finished when the last one is still opening its client."""
        return self._run(job, arguments, line_up=True)

    def _run(
        self, job: Callable[..., Any], arguments: Sequence[tuple[Any, ...]], *, line_up: bool
    ) -> list[Any]:
        watchdog = threading.Timer(self.timeout, self._kill)
        watchdog.start()
        try:
            self._start(len(arguments))
            busy = self._workers[: len(arguments)]
            for worker, values in zip(busy, arguments, strict=True):
                write_message(_pipe(worker.stdin), (job, values))
            answers = [read_message(_pipe(worker.stdout)) for worker in busy]
            if line_up:
                # Who failed before the line has answered already.
                waiting = [number for number, answer in enumerate(answers) if answer == READY]
                for number in waiting:
                    write_message(_pipe(busy[number].stdin), GO)
                for number in waiting:
                    answers[number] = read_message(_pipe(busy[number].stdout))
        except (EOFError, BrokenPipeError) as error:
            self.broken = True
            raise Failure("another process died or did not answer in time") from error
        finally:
            watchdog.cancel()
        for succeeded, value in answers:
            if not succeeded:
                raise Failure(f"in another process: {value}")
        return [value for _, value in answers]

    def begin(self, job: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        """Start a job in the first process, and do not wait for it."""
        self._start(1)
        write_message(_pipe(self._workers[0].stdin), (job, arguments))

    def ended(self) -> bool:
        """Whether a process has ended, or finished the job that was begun."""
        worker = self._workers[0]
        return worker.poll() is not None or bool(select.select([_pipe(worker.stdout)], [], [], 0)[0])

    def kill(self) -> None:
        """End the processes at once (``SIGKILL``), whatever they are doing."""
        self._kill()
        for worker in self._workers:
            worker.wait()

    def _kill(self) -> None:
        for worker in self._workers:
            worker.kill()

    def stop(self) -> None:
        """End the processes."""
        for worker in self._workers:
            with contextlib.suppress(BrokenPipeError):
                _pipe(worker.stdin).close()
            try:
                worker.wait(5)
            except subprocess.TimeoutExpired:
                worker.kill()
                worker.wait()
            _pipe(worker.stdout).close()


def _pipe(stream: IO[bytes] | None) -> IO[bytes]:
    assert stream is not None
    return stream


async def _ready() -> bool:
    return True
