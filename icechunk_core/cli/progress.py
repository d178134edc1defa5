"""Progress of long operations on the terminal: done, rate, and time left."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bars
from rich.text import Text

from icechunk_core.cli.output import errors
from icechunk_core.maintenance import OnProgress, Progress

__all__ = ["shown_progress"]


class _Rate(ProgressColumn):
    """Things done per second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.0f}/s", style="progress.data.speed")


@contextmanager
def shown_progress(*, quiet: bool) -> Iterator[OnProgress | None]:
    """A callback that draws a bar for each phase on standard error, or nothing where nobody looks."""
    console = errors()
    if quiet or not console.is_terminal:
        yield None
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Bars(*columns, console=console, transient=True) as bars:
        tasks: dict[str, int] = {}

        def show(progress: Progress) -> None:
            if progress.phase not in tasks:
                tasks[progress.phase] = int(bars.add_task(progress.phase, total=progress.total))
            bars.update(
                tasks[progress.phase],  # type: ignore[arg-type]
                completed=progress.done,
                total=progress.total,
            )

        yield show
