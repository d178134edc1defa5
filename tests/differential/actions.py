"""Changes of a session, each a function of an implementation's session; and how programs draw them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import zarr
from hypothesis import strategies as st
from zarr.core.sync import sync

from tests.differential.accepted import existing_chunks
from tests.differential.sides import Side, enum_name
from tests.interop.implementations import delete, get, put

__all__ = ["CHANGES", "SOLVERS", "apply", "reindexings", "solver"]

Action = Callable[..., Any]
ARRAYS = ("a", "g/a", "b")
GROUPS = ("g", "g/h", "x y")
OTHERS = ("h", "g/h/a", "g/h/b", "a/b", "y/a", "z")
NODES = (*ARRAYS, *GROUPS)
array_paths = st.sampled_from(["a", "a", "g/a", "g/a", "b"])
node_paths = st.sampled_from(NODES)
small = st.integers(0, 3)
shapes = st.sampled_from([(4,), (6,), (1,), (3, 4), (2, 2), (4, 2), ()])
attributes = st.dictionaries(st.sampled_from(["k", "ключ"]), st.none() | st.integers(0, 3), max_size=2)


def set_attributes(side: Side, session: Any, path: str, values: dict[str, Any]) -> None:
    """Set attributes of a node."""
    zarr.open(session.store, path=path, mode="r+").attrs.update(values)


def create_group(side: Side, session: Any, path: str, values: dict[str, Any]) -> None:
    """A new group."""
    zarr.create_group(session.store, path=path, attributes=values)


def create_array(side: Side, session: Any, path: str, shape: tuple[int, ...], wide: bool) -> None:
    """A new array of chunks of two by two, of 8 or 32 bytes: kept in manifests, or as objects."""
    chunks = tuple(min(2, n) for n in shape)
    zarr.create_array(
        session.store, name=path, shape=shape, chunks=chunks, dtype="<i8" if wide else "<i2", fill_value=0,
        compressors=None,
    )  # fmt: skip


def write(side: Side, session: Any, path: str, start: int, value: int) -> None:
    """Write all of an array from a row on; 0 is the fill value, which zarr writes by deleting."""
    array = zarr.open_array(session.store, path=path, mode="r+")
    array[(slice(start, None),) * array.ndim] = value


def chunk_key(session: Any, path: str, coords: tuple[int, ...]) -> str:
    """The key of a chunk, with as many coordinates as the array has dimensions (see `accepted.NOT_TRIED`)."""
    ndim = zarr.open_array(session.store, path=path, mode="r").ndim
    return "/".join([path, "c", *map(str, (*coords, 0, 0)[:ndim])])


def write_chunk(side: Side, session: Any, path: str, coords: tuple[int, ...], value: int) -> None:
    """Set one chunk, as bytes."""
    put(session, {chunk_key(session, path, coords): bytes([value]) * chunk_size(session, path)})


def chunk_size(session: Any, path: str) -> int:
    """Bytes of each chunk of an array."""
    array = zarr.open_array(session.store, path=path, mode="r")
    return math.prod(array.chunks) * array.dtype.itemsize


def erase_chunk(side: Side, session: Any, path: str, coords: tuple[int, ...]) -> None:
    """Delete one chunk."""
    delete(session, [chunk_key(session, path, coords)])


def read_chunk(side: Side, session: Any, path: str, coords: tuple[int, ...]) -> bytes | None:
    """Read one chunk."""
    return get(session, chunk_key(session, path, coords))


def virtual(side: Side, session: Any, path: str, coords: tuple[int, ...], offset: int) -> None:
    """Let a chunk be a part of a file."""
    key = chunk_key(session, path, coords)
    length = chunk_size(session, path)
    session.store.set_virtual_ref(key, f"file://{side.file}", offset=offset, length=length)


def resize(side: Side, session: Any, path: str, shape: tuple[int, ...]) -> None:
    """Another shape of an array."""
    zarr.open_array(session.store, path=path, mode="r+").resize(shape)


def delete_node(side: Side, session: Any, path: str) -> None:
    """Delete a node as zarr does (see `accepted.NOT_TRIED`)."""
    if has_lost_its_group(session, path):
        return
    parent, _, name = path.rpartition("/")
    del zarr.open_group(session.store, path=parent, mode="r+")[name]


def is_scalar(session: Any, path: str) -> bool:
    """Whether there is an array without dimensions, whose only chunk has the key of the folder of chunks."""
    try:
        return zarr.open_array(session.store, path=path, mode="r").ndim == 0
    except (FileNotFoundError, zarr.errors.NodeTypeValidationError):
        return False


def is_node(session: Any, path: str) -> bool:
    """Whether there is a node."""
    try:
        session.get_node_id("/" + path)
    except KeyError:
        return False
    return True


def delete_folder(side: Side, session: Any, path: str) -> None:
    """Delete a folder of the store (see `accepted.NOT_TRIED`)."""
    node = path.removesuffix("/c")
    if has_lost_its_group(session, node) or is_scalar(session, node):
        return
    sync(session.store.delete_dir(path))


def has_lost_its_group(session: Any, path: str) -> bool:
    """Whether there are nodes below a path, and none there."""
    inside = any(is_node(session, inner) for inner in (*NODES, *OTHERS) if inner.startswith(path))
    return inside and not is_node(session, path)


def clear(side: Side, session: Any) -> None:
    """Delete everything."""
    sync(session.store.clear())
    if not session.read_only and session.status().is_empty():
        # The peer keeps, without showing it, what was written to arrays that the session has made itself.
        session.discard_changes()


def move(side: Side, session: Any, source: str, target: str) -> None:
    """Move a node."""
    session.move("/" + source, "/" + target)


def shift(side: Side, session: Any, path: str, offset: tuple[int, ...]) -> None:
    """Shift the chunks of an array."""
    ndim = zarr.open_array(session.store, path=path, mode="r").ndim
    session.shift_array("/" + path, (*offset, 0)[:ndim])


reindexings: dict[str, tuple[Action, Action | None]] = {
    "forward": (lambda index: [n + 1 for n in index], None),
    "swap": (lambda index: [1 - n if n < 2 else n for n in index],) * 2,
    "some": (lambda index: None if index[0] else index, None),
    "back": (
        lambda index: [n - 1 for n in index] if min(index) else None,
        lambda index: [n + 1 for n in index],
    ),
}


def reindex(side: Side, session: Any, path: str, how: str) -> None:
    """Put the chunks of an array elsewhere."""
    forward, backward = reindexings[how]
    session.reindex_array("/" + path, forward, backward)


def discard(side: Side, session: Any) -> None:
    """Forget all changes."""
    session.discard_changes()


def chunk_type(side: Side, session: Any, path: str, coords: tuple[int, ...]) -> str:
    """How a chunk is stored."""
    return enum_name(session.chunk_type("/" + path, list(coords)))


def chunk_coordinates(side: Side, session: Any, path: str) -> list[list[int]]:
    """Which chunks there are."""
    return existing_chunks(session, "/" + path)


def virtual_locations(side: Side, session: Any) -> list[str]:
    """Where virtual chunks are."""
    return sorted(session.all_virtual_chunk_locations())


def has_node(side: Side, session: Any, path: str) -> int:
    """A node's id is there, or the same error."""
    return len(session.get_node_id("/" + path))


coords = st.sampled_from([(0,), (1,), (2,), (0, 0), (1, 0), (0, 1), (1, 1), ()])
offsets = st.sampled_from([(1,), (-1,), (2,), (1, 0), (0, -1), (-1, 1)])
hows = st.sampled_from(sorted(reindexings))
places = st.sampled_from([*NODES, *OTHERS])

# The ones that make most of the conflicts come more than once.
DRAWN: list[tuple[Action, tuple[st.SearchStrategy[Any], ...]]] = [
    (write, (array_paths, small, small)),
    (write, (array_paths, small, small)),
    (write_chunk, (array_paths, coords, small)),
    (write_chunk, (array_paths, coords, small)),
    (set_attributes, (node_paths, attributes)),
    (set_attributes, (node_paths, attributes)),
    (create_group, (st.sampled_from(["g/h", "x y", "z", "g", "a"]), attributes)),
    (create_array, (st.sampled_from(["b", "g/h/b", "g/a", "a"]), shapes, st.booleans())),
    (create_array, (st.sampled_from(["b", "g/h/b", "g/a", "a"]), shapes, st.booleans())),
    (erase_chunk, (array_paths, coords)),
    (read_chunk, (array_paths, coords)),
    (virtual, (array_paths, coords, small)),
    (resize, (array_paths, shapes)),
    (delete_node, (node_paths,)),
    (delete_folder, (st.sampled_from([*NODES, "g/a/c", "nothing"]),)),
    (clear, ()),
    (move, (node_paths, places)),
    (move, (node_paths, places)),
    (shift, (array_paths, offsets)),
    (reindex, (array_paths, hows)),
    (discard, ()),
    (chunk_type, (array_paths, coords)),
    (chunk_coordinates, (array_paths,)),
    (virtual_locations, ()),
    (has_node, (node_paths,)),
]
NAMES = {action.__name__: action for action, _ in DRAWN}
CHANGES = st.one_of(
    *[st.tuples(st.just(action.__name__), *arguments) for action, arguments in DRAWN]
)  # fmt: skip


def apply(side: Side, session: Any, name: str, *arguments: Any) -> Any:
    """Do one change, by its name."""
    answer = NAMES[name](side, session, *arguments)
    return answer.tolist() if isinstance(answer, np.ndarray) else answer


SOLVERS = st.sampled_from(
    [None, "detect", *[f"{v} {a} {g}" for v in ("Fail", "UseOurs", "UseTheirs") for a in "01" for g in "01"]]
)


def solver(side: Side, text: str | None) -> Any:
    """A conflict solver by its text: the version selected, and whether deletes of updated nodes fail."""
    if text is None:
        return None
    if text == "detect":
        return side.ic.ConflictDetector()
    selection, arrays, groups = text.split()
    return side.ic.BasicConflictSolver(
        on_chunk_conflict=getattr(side.ic.VersionSelection, selection),
        fail_on_delete_of_updated_array=arrays == "1",
        fail_on_delete_of_updated_group=groups == "1",
    )
