"""Whatever is written and read, the bulk pipeline gives what zarr's default pipeline gives."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given, settings

import icechunk_core
from tests.codec_pipeline.programs import Program, Step, arrays_of, programs
from tests.interop.implementations import contents

DEFAULT = "zarr.core.codec_pipeline.BatchedCodecPipeline"
BULK = "icechunk_core.codec_pipeline.BulkCodecPipeline"


def view(array: Any, step: Step) -> Any:
    """What a step selects from: the array, or one of its ways to select."""
    return {"oindex": array.oindex, "vindex": array.vindex, "mask": array.vindex, "blocks": array.blocks}.get(
        step.kind, array
    )


def outcome(act: Callable[[], Any]) -> Any:
    """Values in a form that tells NaN from NaN and -0.0 from 0.0, or the kind of the error."""
    try:
        found = act()
    except (IndexError, ValueError, TypeError, NotImplementedError) as error:
        return type(error), str(error)
    if found is None:
        return None
    values = np.asarray(found)
    content = values.tolist() if values.dtype.hasobject else values.tobytes()
    return values.shape, values.dtype.str, values.flags.f_contiguous, content


def carry_out(program: Program, array: Any) -> list[Any]:
    """What the steps of one session give, one after the other."""
    outcomes = []
    for step in program.sessions.pop(0):
        selected = outcome(lambda: view(array, step)[step.selection])  # noqa: B023 - called at once
        outcomes.append(selected)
        if step.seed is not None and isinstance(selected[0], tuple):
            values = program.values(step, selected[0])

            def write(step: Step = step, values: Any = values) -> None:
                view(array, step)[step.selection] = values

            outcomes.append(outcome(write))
            outcomes.append(outcome(lambda: array[...]))
    return outcomes


def run(program: Program, pipeline: str, storage: Any) -> tuple[list[Any], list[dict[str, bytes]], Any]:
    """All outcomes, the stored chunks after each session, and the repository."""
    outcomes: list[Any] = []
    chunks = []
    repository = program.repository(storage)
    sessions = list(program.sessions)
    with zarr.config.set({"codec_pipeline.path": pipeline}):
        session = repository.writable_session("main")
        program.create(session.store)
        for steps in sessions:
            program.sessions[:] = [steps]
            outcomes += carry_out(program, arrays_of(program, session.store))
            chunks.append(contents(session.store))
            session.commit("written", allow_empty=True)
            session = repository.writable_session("main")
            outcomes.append(outcome(lambda: arrays_of(program, session.store)[...]))  # noqa: B023
    program.sessions[:] = sessions
    return outcomes, chunks, repository


def compare(program: Program, make_storage: Callable[[], Any]) -> None:
    expected, chunks, theirs = run(program, DEFAULT, make_storage())
    found, ours, repository = run(program, BULK, make_storage())
    assert ours == chunks
    assert found == expected
    # Each reads what the other wrote.
    crossed = []
    for pipeline, written in ((DEFAULT, repository), (BULK, theirs)):
        with zarr.config.set({"codec_pipeline.path": pipeline}):
            store = icechunk_core.Repository.open(written.storage).readonly_session("main").store
            crossed.append(outcome(lambda: arrays_of(program, store, "r")[...]))  # noqa: B023
    assert crossed == [expected[-1], expected[-1]]


UNSTABLE_TYPES = pytest.mark.filterwarnings(
    "ignore:The data type .* does not have a Zarr V3 specification",
    "ignore:The codec .* is currently not part in the Zarr format 3 specification",
)


@settings(max_examples=40, deadline=None)
@given(programs())
@pytest.mark.filterwarnings(
    "ignore:The (data type|codec) .* (does not have a|not part in the) Zarr (V3|format 3) spec"
)
def test_in_memory(program: Program) -> None:
    """Same values, same errors and, byte for byte, the same stored chunks as with zarr's default pipeline."""
    compare(program, icechunk_core.in_memory_storage)


@settings(max_examples=20, deadline=None)
@given(programs())
@pytest.mark.filterwarnings(
    "ignore:The (data type|codec) .* (does not have a|not part in the) Zarr (V3|format 3) spec"
)
def test_in_a_directory(program: Program) -> None:
    """The same in files."""
    with TemporaryDirectory() as root:
        roots = iter(["default", "bulk"])
        compare(
            program,
            lambda: icechunk_core.local_filesystem_storage(str(Path(root) / next(roots)), durable=False),
        )
