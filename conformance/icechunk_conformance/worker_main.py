"""The other end of `icechunk_conformance.workers`: runs jobs until its input ends."""

from __future__ import annotations

import asyncio
import inspect
import os
import sys

from icechunk_conformance import workers
from icechunk_conformance.workers import READY, read_message, write_message


def main() -> None:
    """Answer each ``(job, arguments)`` with ``(succeeded, result or error text)``."""
    answers = os.fdopen(os.dup(1), "wb")
    # Whatever a backend prints must not get between the answers.
    os.dup2(2, 1)

    def wait_at_the_line() -> None:
        write_message(answers, READY)
        read_message(sys.stdin.buffer)

    workers._at_the_line.append(wait_at_the_line)
    with asyncio.Runner() as runner:
        while True:
            try:
                job, arguments = read_message(sys.stdin.buffer)
            except EOFError:
                return
            try:
                value = job(*arguments)
                result = (True, runner.run(value) if inspect.iscoroutine(value) else value)
            except Exception as error:
                result = (False, f"{type(error).__name__}: {error}")
            write_message(answers, result)


if __name__ == "__main__":
    main()
