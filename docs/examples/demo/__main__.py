"""240 years of climate in a versioned repository: `make demo`, or ``python docs/examples/demo``.

Each step below is a function that fits on a screen; read them from `main` upwards.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from pathlib import Path

import numpy as np
import xarray as xr
import zarr
from checks import check_same, open_with_icechunk
from picture import draw
from scenarios import DECADES, FIRST_YEAR, decade, first_difference, load, write_decade

from icechunk_core import Repository, Session

SHARED = "history"  # tag: where the two scenarios part
NAMES = {"main": "A1B", "e1": "E1"}


def step(text: str) -> None:
    """Print a heading."""
    print(f"\n\033[1m{text}\033[0m" if sys.stdout.isatty() else f"\n{text}")


def read(session: Session) -> xr.Dataset:
    """The whole dataset as it is stored, lazily."""
    dataset: xr.Dataset = xr.open_zarr(session.store, consolidated=False, decode_times=False)
    return dataset


def write_scenarios(repo: Repository, a1b: xr.Dataset, e1: xr.Dataset, decades: int) -> dict[str, list[str]]:
    """Commit both scenarios decade by decade: A1B on ``main``, E1 on a branch from where they part.

    Returns the snapshot ids of each branch, one a decade.
    """
    parting = first_difference(a1b["air_temperature"], e1["air_temperature"]) // 10
    commits: dict[str, list[str]] = {"main": [], "e1": []}
    for branch, scenario, first in (("main", a1b, 0), ("e1", e1, parting)):
        if branch == "e1":
            commits["e1"] = commits["main"][:parting]
            repo.create_tag(SHARED, commits["main"][parting - 1])
            repo.create_branch("e1", repo.lookup_tag(SHARED))
        for number in range(first, decades):
            session = repo.writable_session(branch)
            write_decade(session.store, decade(scenario, number), append=number > 0)
            commits[branch].append(session.commit(f"{FIRST_YEAR + 10 * number}s, scenario {NAMES[branch]}"))
    print(
        f"  {FIRST_YEAR}s to {FIRST_YEAR + 10 * (parting - 1)}s are the same in both: "
        f"one history, tag {SHARED!r}"
    )
    print(f"  main (A1B, rapid growth): {len(commits['main'])} commits")
    print(f"  e1 (E1, strong mitigation): {len(commits['e1']) - parting} commits of its own")
    return commits


def correct_values(repo: Repository, corrected: xr.Dataset) -> str:
    """Rewrite a part of an array through zarr (a made-up correction: the 1950s 0.25 K colder)."""
    years = slice(1950 - FIRST_YEAR, 1960 - FIRST_YEAR)
    session = repo.writable_session("main")
    array = zarr.open_array(session.store, path="air_temperature", mode="r+")
    array[years] = np.asarray(array[years]) - 0.25
    corrected["air_temperature"].values[years] -= 0.25
    return session.commit("Correct the 1950s by -0.25 K")


def print_tree(session: Session) -> None:
    """The arrays with shape, chunk shape and type."""
    group = zarr.open_group(session.store, mode="r")
    print("  /")
    for name, array in sorted(group.arrays()):
        print(f"    {name:<24} shape {array.shape!s:<15} chunks {array.chunks!s:<13} {array.dtype}")


def time_travel(repo: Repository, commits: dict[str, list[str]], a1b: xr.Dataset, e1: xr.Dataset) -> int:
    """Open old versions in every way there is and compare them with the NetCDF files."""
    checked = 0
    for branch, scenario in (("main", a1b), ("e1", e1)):
        for number, snapshot in enumerate(commits[branch]):
            old = read(repo.readonly_session(snapshot_id=snapshot))
            checked += check_same(old, scenario.isel(time=slice(0, 10 * (number + 1))))
    print(f"  by snapshot: each of the {len(set(commits['main'] + commits['e1']))} decade commits")
    checked += check_same(read(repo.readonly_session(tag="v1")), a1b)
    print("  by tag:      v1, before the correction")
    moment = repo.lookup_snapshot(commits["main"][1]).written_at
    checked += check_same(read(repo.readonly_session("main", as_of=moment)), a1b.isel(time=slice(0, 20)))
    print(f"  by time:     main as of {moment:%H:%M:%S.%f}, two decades in")
    return checked


def run(output: Path, decades: int = DECADES) -> None:
    """The whole demo; results go to ``output``; an earlier repository there is replaced."""
    started = time.perf_counter()
    location = output / "repository"
    shutil.rmtree(location, ignore_errors=True)
    a1b, e1 = (scenario.isel(time=slice(0, 10 * decades)) for scenario in load())

    step(f"1. Write two climate scenarios, decade by decade, to {location}")
    repo = Repository.create(location)
    commits = write_scenarios(repo, a1b, e1, decades)
    repo.create_tag("v1", commits["main"][-1])

    step("2. Rewrite ten years of main; the tag v1 keeps the old values")
    corrected = a1b.copy(deep=True)
    correct_values(repo, corrected)
    print(repo.diff(from_tag="v1", to_branch="main"))

    step("3. The history")
    print(repo.ancestry_graph().render(color=sys.stdout.isatty()))

    step("4. What is in it")
    print_tree(repo.readonly_session("main"))

    step("5. Read old versions back")
    checked = time_travel(repo, commits, a1b, e1)
    checked += check_same(read(repo.readonly_session("main")), corrected)
    checked += check_same(read(repo.readonly_session("e1")), e1)
    print(f"  {checked:,} values compared with the NetCDF files: all equal")

    step("6. The same directory in Icechunk's own implementation")
    print(f"  {open_with_icechunk(location, {'main': corrected, 'e1': e1})}")

    step("7. A picture, read from the repository")
    picture = output / "scenarios.png"
    draw(repo, picture)
    print(f"  {picture}")

    step(f"Done in {time.perf_counter() - started:.1f} s. What to try next:")
    print(NEXT.format(location=location, picture=picture))


NEXT = """\
  * look at {picture}
  * open the repository yourself:
        .venv/bin/python
        >>> import xarray as xr
        >>> from icechunk_core import Repository
        >>> repo = Repository.open("{location}")
        >>> xr.open_zarr(repo.readonly_session("e1").store, consolidated=False)
  * read the tutorial: docs/tutorial.md
  * write a storage backend of your own, in about 100 lines: docs/how-to/write-a-backend.md"""


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="240 years of climate in a versioned repository")
    parser.add_argument("--output", type=Path, default=Path("demo-output"), help="directory for the results")
    parser.add_argument(
        "--decades", type=int, default=DECADES, help="how many decades from 1860 on (16 to 24)"
    )
    options = parser.parse_args()
    run(options.output, options.decades)


if __name__ == "__main__":
    main()
