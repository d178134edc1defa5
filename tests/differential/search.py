"""Look for differences with many random programs, in several processes.

``python -m tests.differential.search --programs 3000 --seed 1`` runs programs that are the same
in each run with the same seed, and prints the first one of each batch that shows a difference.
"""

from __future__ import annotations

import argparse
import faulthandler
import io
import multiprocessing
import os
import sys
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import redirect_stdout

from attrs import frozen
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.reporting import with_reporter
from hypothesis.stateful import run_state_machine_as_test

from icechunk_core.assets.pack_config import PLAIN_LAYOUT_VARIABLE

__all__ = ["Batch", "run_batch", "search"]

STEPS = 40
SIZE = 25
TIMEOUT = 300
"""Seconds until a batch is given up, with a traceback: the peer may hang."""
SETTINGS = settings(
    # A failure is reported as found: making these programs smaller takes minutes.
    phases=[Phase.generate],
    stateful_step_count=STEPS,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


@frozen
class Batch:
    """Some programs, made from one seed.

    Attributes
    ----------
    found
        The first program that showed a difference, with the difference; empty if none did.
    """

    seed: int
    programs: int
    found: str = ""


def run_batch(number: int, programs: int) -> Batch:
    """Run programs until one shows a difference."""
    from tests.differential.machine import DifferentialMachine

    class Machine(DifferentialMachine):
        """Seeded by itself."""

    faulthandler.dump_traceback_later(TIMEOUT, exit=True)
    lines: list[object] = []
    try:
        with redirect_stdout(io.StringIO()), with_reporter(lines.append):
            run_state_machine_as_test(
                seed(number)(Machine), settings=settings(SETTINGS, max_examples=programs)
            )
    except BaseException as error:  # whatever it is, it is what is looked for
        if isinstance(error, KeyboardInterrupt):
            raise
        text = "".join(traceback.format_exception(error, limit=-6))
        return Batch(number, programs, "\n".join([*map(str, lines), text]))
    finally:
        faulthandler.cancel_dump_traceback_later()
    return Batch(number, programs)


def search(programs: int, first_seed: int, jobs: int) -> Iterator[Batch]:
    """Run programs in batches, each in one of several processes, and give each batch when it is done."""
    sizes = [min(SIZE, programs - start) for start in range(0, programs, SIZE)]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context) as pool:
        batches = [pool.submit(run_batch, first_seed + n, size) for n, size in enumerate(sizes)]
        for batch in as_completed(batches):
            yield batch.result()


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--programs", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    os.environ[PLAIN_LAYOUT_VARIABLE] = "1"
    done = differences = 0
    for batch in search(options.programs, options.seed, options.jobs):
        done += batch.programs
        differences += bool(batch.found)
        if batch.found:
            print(f"--- seed {batch.seed}\n{batch.found}", flush=True)
        print(f"{done} programs, {differences} batches with a difference", flush=True)
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
