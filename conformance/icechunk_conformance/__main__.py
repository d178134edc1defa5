"""``python -m icechunk_conformance URL``."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Callable, Sequence

from attrs import evolve

from icechunk_conformance.budget import BUDGETS
from icechunk_conformance.registry import GROUPS, all_checks, select
from icechunk_conformance.report import Level, Result
from icechunk_conformance.runner import find_out_why_not, run_suite
from icechunk_conformance.table import print_report
from icechunk_conformance.target import Location
from icechunk_core.errors import IcechunkError

__all__ = ["main"]

EXIT_PASSED, EXIT_FAILED, EXIT_NOT_RUN = 0, 1, 2

_EPILOG = """\
exit status:
  0  every check that the storage's capabilities call for passed
     (and the level that --require names was reached)
  1  a check failed, or that level was not reached
  2  nothing was tested: wrong usage, or the storage could not be opened or reached

Everything happens under a random prefix, which is removed at the end.
"""


def _parser(program: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=program,
        description="Test whether a storage keeps the promises that icechunk-core repositories rely on.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("url", nargs="?", help="the storage: a URL or a path, e.g. s3://bucket/prefix")
    parser.add_argument(
        "-o",
        "--option",
        action="append",
        default=[],
        type=_option,
        metavar="NAME=VALUE",
        help="an option of the storage; repeatable",
    )
    parser.add_argument(
        "--budget", choices=list(BUDGETS), default="small", help="how much work to do (small)"
    )
    parser.add_argument(
        "--only",
        action="append",
        metavar="ID",
        help="a check (E02) or a group (E); repeatable, or with commas",
    )
    parser.add_argument(
        "--require", choices=[level.label for level in Level], help="level that must be reached"
    )
    parser.add_argument(
        "--secret", action="append", default=[], help="a text that must never show; repeatable"
    )
    parser.add_argument(
        "--contenders",
        type=_positive,
        metavar="N",
        help="the most that race for one object (for servers whose losers wait long)",
    )
    parser.add_argument(
        "--writable-twin",
        metavar="URL",
        help="for a read-only storage: one that writes to the same place",
    )
    parser.add_argument("--label", default="", help="what to call the server in the report")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.add_argument("--list", action="store_true", help="list the checks and what they promise")
    parser.add_argument("-v", "--verbose", action="store_true", help="say why checks were not called for")
    return parser


def main(arguments: Sequence[str] | None = None, program: str = "python -m icechunk_conformance") -> int:
    """Run the suite as the command line says; the exit status."""
    parser = _parser(program)
    options = parser.parse_args(arguments)
    if options.list:
        _list_checks()
        return EXIT_PASSED
    if options.url is None:
        parser.print_usage(sys.stderr)
        print("name the storage by its URL, e.g. memory: or file:///tmp/somewhere", file=sys.stderr)
        return EXIT_NOT_RUN
    only = [part for value in options.only or [] for part in value.split(",")]
    try:
        select(only)
        location = Location.from_url(
            options.url,
            secrets=options.secret,
            budget=BUDGETS[options.budget],
            contenders=options.contenders,
            twin=options.writable_twin,
            **dict(options.option),
        )
        problem = asyncio.run(find_out_why_not(location))
    except (IcechunkError, ValueError) as error:
        problem = str(error)
    if problem is not None:
        print(f"cannot start: {problem}", file=sys.stderr)
        return EXIT_NOT_RUN
    report = run_suite(location, only=only, progress=None if options.json else _progress())
    report = evolve(report, label=options.label)
    if options.json:
        print(report.as_json())
    else:
        print_report(report, verbose=options.verbose)
    if not report.passed or (options.require and not _reached(report.level, options.require)):
        return EXIT_FAILED
    return EXIT_PASSED


def _option(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, value


def _positive(text: str) -> int:
    number = int(text)
    if number < 2:
        raise argparse.ArgumentTypeError("a race takes two at least")
    return number


def _reached(level: Level | None, required: str) -> bool:
    wanted = next(each for each in Level if each.label == required)
    return level is not None and level >= wanted


def _progress() -> Callable[[Result], None] | None:
    if not sys.stderr.isatty():
        return None

    def show(result: Result) -> None:
        print(f"\r\033[K{result.check.id} {result.check.title}", end="", file=sys.stderr, flush=True)

    return show


def _list_checks() -> None:
    for group, name in GROUPS.items():
        print(f"{group}  {name}")
        for check in all_checks():
            if check.group == group:
                needs = f"  [{', '.join(check.requires)}]" if check.requires else ""
                print(f"  {check.id}  {check.title}{needs}")


if __name__ == "__main__":
    sys.exit(main())
