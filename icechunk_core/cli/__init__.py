"""The command line ``icechunk-core``; needs ``icechunk-core[cli]``."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line of this process."""
    try:
        from icechunk_core.cli.app import run
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] not in {"rich", "typer"}:
            raise
        print(
            f"the command line needs {error.name}; install it with: pip install 'icechunk-core[cli]'",
            file=sys.stderr,
        )
        raise SystemExit(2) from error
    raise SystemExit(run())
