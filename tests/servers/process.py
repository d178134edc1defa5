"""Start a server as a process of its own, wait until it answers, stop it by its process id."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

__all__ = ["INSTALLED", "MissingServerError", "free_port", "free_ports", "node_script", "program", "running"]

INSTALLED = Path(os.environ.get("ICECHUNK_TEST_SERVERS") or Path(__file__).parents[2] / "build" / "servers")
"""Where `tests.servers.install` puts the servers."""
START_SECONDS = 60.0
_FIRST_PORT, _PORTS = 20_000, 12_000
_candidates = count(os.getpid() * 97, 7)


class MissingServerError(Exception):
    """A server's program is not installed."""


def program(name: str) -> str:
    """Path of an installed server's command.

    Raises
    ------
    MissingServerError
        Saying how to install it.
    """
    path = INSTALLED / "python" / "bin" / name
    if not path.exists():
        raise MissingServerError(
            f"no {path.name} in {INSTALLED}; install the servers with: python -m tests.servers.install"
        )
    return str(path)


def node_script(path: str) -> list[str]:
    """Command that runs a script of an installed npm package, e.g. ``azurite/dist/src/blob/main.js``."""
    script = INSTALLED / "node_modules" / path
    if not script.exists():
        raise MissingServerError(
            f"no {path} in {INSTALLED}; install the servers with: python -m tests.servers.install"
        )
    return ["node", str(script)]


def free_port() -> int:
    """A port of the loopback interface that nothing listens on."""
    return free_ports([0])


def free_ports(offsets: Sequence[int]) -> int:
    """A port such that it and those at the offsets from it are free.

    They lie below those that the system gives to clients. Each process begins to look at another
    place, and never gives a port twice, so that servers which start at the same time do not meet.
    """
    for _ in range(_PORTS):
        base = _FIRST_PORT + next(_candidates) % _PORTS
        if all(_is_free(base + offset) for offset in offsets):
            return base
    raise RuntimeError("found no free ports")


def _is_free(port: int) -> bool:
    with socket.socket() as listener:
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


@contextmanager
def running(
    command: Sequence[str],
    *,
    port: int,
    log: Path,
    environment: Mapping[str, str] | None = None,
    directory: Path | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server while the block runs; the block begins when its port accepts connections.

    Raises
    ------
    RuntimeError
        If it ends early or does not listen in time, with the end of its output.
    """
    with log.open("wb") as output:
        process = subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
            cwd=directory,
            start_new_session=True,
            preexec_fn=_end_with_parent  # noqa: PLW1509 - one system call, no lock
            if sys.platform == "linux"
            else None,
        )
    try:
        _wait_until_listening(process, port, log)
        yield process
    finally:
        _stop(process)


def _end_with_parent() -> None:
    """Have the kernel end this process when the tests die without stopping it."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def _wait_until_listening(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"{process.args!r} ended with {process.returncode}:\n{_tail(log)}")
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError(f"{process.args!r} does not listen on port {port}:\n{_tail(log)}")


def _tail(log: Path) -> str:
    return log.read_bytes()[-2000:].decode(errors="replace")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Ask the server to end; insist after a moment. Nothing that it holds is worth waiting for."""
    for number, patience in ((signal.SIGTERM, 3.0), (signal.SIGKILL, 10.0)):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            continue
        break
