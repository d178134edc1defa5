"""What is read from ``zarr.json``."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icechunk_core.error_kinds import ErrorKind
from icechunk_core.errors import InvalidInputError
from icechunk_core.format.zarr_metadata import NodeMetadata, parse_node_metadata
from tests.vectors_support import VECTOR_NAMES, load_vector

ABSENT = object()


def regular(*chunks: Any) -> dict[str, Any]:
    return {"name": "regular", "configuration": {"chunk_shape": list(chunks)}}


def rectilinear(*sizes: Any) -> dict[str, Any]:
    return {"name": "rectilinear", "configuration": {"kind": "inline", "chunk_shapes": list(sizes)}}


def array(**changes: Any) -> bytes:
    """The metadata of an array of 10 x 7 elements, with some fields changed or left out."""
    fields = {
        "zarr_format": 3,
        "node_type": "array",
        "shape": [10, 7],
        "data_type": "int8",
        "chunk_grid": regular(3, 7),
        "chunk_key_encoding": {"name": "default"},
        "fill_value": 0,
        "codecs": [{"name": "bytes"}],
        "attributes": {},
        **changes,
    }
    return json.dumps({key: value for key, value in fields.items() if value is not ABSENT}).encode()


def parse(data: bytes, spec_version: int = 2) -> NodeMetadata:
    return parse_node_metadata(data, spec_version=spec_version, path="/a")


@pytest.mark.parametrize("name", VECTOR_NAMES)
def test_vectors(name: str) -> None:
    """Shapes, chunk counts and names of all nodes of genuine repositories."""
    vector = load_vector(name)
    spec_version = 1 if vector.is_spec_1 else 2
    for snapshot in vector.expected["snapshots"].values():
        nodes = snapshot["nodes"]
        for node in nodes if isinstance(nodes, list) else [*nodes["first"], *nodes["last"]]:
            found = parse(node["zarr_json"].encode(), spec_version)
            assert found.is_array == (node["type"] == "array")
            if not found.is_array:
                continue
            dimensions = node["dimensions"]
            assert list(found.shape) == [dimension["array_length"] for dimension in dimensions]
            assert list(found.num_chunks) == [dimension["num_chunks"] for dimension in dimensions]
            names = list(found.dimension_names or [None] * len(found.shape))
            assert names == [dimension.get("name") for dimension in dimensions]


def test_groups() -> None:
    """Nothing but the type is read from a group."""
    assert parse(b'{"node_type": "group", "shape": "anything"}') == NodeMetadata(is_array=False)


@pytest.mark.parametrize(
    ("shape", "grid", "num_chunks"),
    [
        ([], regular(), ()),
        ([0], regular(3), (0,)),
        ([1], regular(3), (1,)),
        ([9, 10], regular(3, 3), (3, 4)),
        ([0], regular(0), (0,)),
        ([2**40], regular(2**20), (2**20,)),
        ([7, 6], rectilinear([1, 4, 2], [[2, 3]]), (3, 3)),
        ([0], rectilinear([]), (0,)),
        ([8], rectilinear([2, [3, 2]]), (3,)),
    ],
)
def test_chunk_counts(shape: list[int], grid: dict[str, Any], num_chunks: tuple[int, ...]) -> None:
    """Chunks per dimension for both kinds of grids."""
    found = parse(array(shape=shape, chunk_grid=grid))
    assert (found.shape, found.num_chunks) == (tuple(shape), num_chunks)


@pytest.mark.parametrize(
    ("names", "expected"),
    [(ABSENT, None), (None, None), (["x", None], ("x", None)), (["", "é"], (None, "é"))],
)
def test_dimension_names(names: Any, expected: Any) -> None:
    """Names may be absent or null as a whole and one by one; an empty one counts as none."""
    assert parse(array(dimension_names=names)).dimension_names == expected


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"x",
        b"[]",
        b"null",
        b"{}",
        b"\xff",
        b'{"node_type": "group"} x',
        b'{"node_type": "group", "attributes": NaN}',
        b"[" * 100_000,
        '{"node_type": "group"}'.encode("utf-16"),
        array(node_type="tree"),
        array(node_type=ABSENT),
        array(shape=ABSENT),
        array(shape="x"),
        array(shape=[-1, 7]),
        array(shape=[1.5, 7]),
        array(shape=[True, 7]),
        array(shape=[2**64, 7]),
        array(chunk_grid=ABSENT),
        array(chunk_grid="regular"),
        array(chunk_grid={"name": "regular"}),
        array(chunk_grid={"name": "hexagonal", "configuration": {}}),
        array(chunk_grid=regular(-3, 7)),
        array(chunk_grid=rectilinear(3, 7)),
        array(chunk_grid=rectilinear([[2]], [7])),
        array(dimension_names=[1, 2]),
        array(dimension_names="xy"),
        array(dimension_names=["\ud800", "b"]),
    ],
)
def test_bad_metadata(data: bytes) -> None:
    """What is no metadata of a node is refused, naming the node."""
    with pytest.raises(InvalidInputError, match=r"zarr\.json of /a: ") as caught:
        parse(data)
    assert caught.value.kind == ErrorKind.BAD_METADATA


@pytest.mark.parametrize(
    ("data", "spec_version"),
    [
        (array(chunk_grid=regular(3)), 2),
        (array(chunk_grid=rectilinear([10])), 2),
        (array(dimension_names=["x"]), 2),
        (array(shape=[2**40, 7], chunk_grid=regular(1, 1)), 2),
        (array(shape=[10], chunk_grid=rectilinear([[1, 2**32]])), 2),
        (array(chunk_grid=regular(0, 7)), 1),
    ],
)
def test_contradictions(data: bytes, spec_version: int) -> None:
    """Fields that contradict each other, or exceed what the format holds, are refused."""
    with pytest.raises(InvalidInputError) as caught:
        parse(data, spec_version)
    assert caught.value.kind == ErrorKind.INVALID_ARRAY_METADATA


def test_spec_1_has_regular_grids_only() -> None:
    """Rectilinear grids need spec 2."""
    data = array(chunk_grid=rectilinear([4, 6], [7]))
    assert parse(data).num_chunks == (2, 1)
    with pytest.raises(InvalidInputError, match="spec version 1 has 'regular'") as caught:
        parse(data, spec_version=1)
    assert caught.value.kind == ErrorKind.BAD_METADATA


json_values = st.recursive(
    st.none() | st.integers() | st.text(max_size=3) | st.booleans() | st.floats(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


@given(st.sampled_from(["shape", "chunk_grid", "dimension_names", "node_type"]), json_values)
def test_any_value_in_a_field(field: str, value: Any) -> None:
    """Whatever a field holds, the answer is metadata or `InvalidInputError`."""
    try:
        found = parse(array(**{field: value}))
    except InvalidInputError:
        return
    assert len(found.shape) == len(found.num_chunks)
