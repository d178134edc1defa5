"""Workers for commands that can use many."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Annotated, Any, TypeAlias

import typer

from icechunk_core.errors import ExecutorError

__all__ = ["Dask", "Workers", "chosen_executor"]

Workers: TypeAlias = Annotated[
    int, typer.Option("--workers", min=0, help="Spread the work over so many processes of this machine.")
]
Dask: TypeAlias = Annotated[
    str | None,
    typer.Option("--dask", help="Spread it over a Dask cluster: its scheduler's address.", metavar="ADDRESS"),
]


@contextmanager
def chosen_executor(workers: int, dask: str | None) -> Iterator[Executor | None]:
    """The executor that options ask for.

    Raises
    ------
    typer.BadParameter
        If both are given, or Dask's scheduler is not installed.
    ExecutorError
        If the scheduler does not answer.
    """
    if workers and dask is not None:
        raise typer.BadParameter("give --workers or --dask, not both", param_hint="--dask")
    if dask is not None:
        with _cluster(dask) as executor:
            yield executor
    elif workers:
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as executor:
            yield executor
    else:
        yield None


@contextmanager
def _cluster(address: str) -> Iterator[Executor]:
    try:
        from distributed import Client
    except ImportError as error:
        raise typer.BadParameter(
            "Dask's scheduler is not installed; pip install 'icechunk-core[dask]'", param_hint="--dask"
        ) from error
    try:
        client: Any = Client(address, set_as_default=False)  # type: ignore[no-untyped-call,unused-ignore]
    except (OSError, ValueError, TimeoutError) as error:
        raise ExecutorError(f"there is no Dask scheduler at {address!r}: {error}") from error
    with client:
        yield client.get_executor()
