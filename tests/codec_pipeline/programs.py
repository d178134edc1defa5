"""Random arrays, and random selections that are written to them and read from them."""

from __future__ import annotations

from typing import Any

import numpy as np
import zarr
import zarr.codecs
from attrs import frozen
from hypothesis import strategies as st

import icechunk_core

__all__ = ["Program", "Step", "arrays_of", "programs"]

STRUCT = np.dtype([("a", "<i2"), ("b", "<f8")])
FILLS: dict[str, list[Any]] = {
    "bool": [False, True],
    "i1": [0, -1],
    ">i4": [0, 7],
    "<u8": [0, 2**64 - 1],
    "f2": [0.0, float("nan")],
    "<f4": [0.0, -0.0, float("nan"), 1.5],
    ">f8": [0.0, -0.0, float("nan"), float("-inf")],
    "<c8": [0, complex(0.0, float("nan"))],
    "<M8[s]": [np.datetime64(0, "s"), np.datetime64("NaT", "s")],
    "<m8[ms]": [np.timedelta64(0, "ms")],
    "S3": [b"", b"ab"],
    "<U2": ["", "ä"],
    "str": ["", "x"],
    "struct": [np.zeros((), STRUCT)[()]],
}
# Not gzip, which writes the time into each chunk.
COMPRESSORS: dict[str, list[Any]] = {
    "none": [],
    "zstd": [zarr.codecs.ZstdCodec()],
    "blosc and checksum": [zarr.codecs.BloscCodec(), zarr.codecs.Crc32cCodec()],
    "checksum": [zarr.codecs.Crc32cCodec()],
}
PACKS: dict[str, icechunk_core.PackConfig | bool] = {
    "packs": True,
    "tiny packs": icechunk_core.PackConfig(max_chunk_bytes=64, target_bytes=160, buffered_bytes=64),
    "no packs": False,
}


@frozen
class Step:
    """A selection, how zarr is asked for it, and the seed of what is written; ``None``: it is only read."""

    kind: str
    selection: Any
    seed: int | None
    scalar: bool


@frozen
class Program:
    """An array, and steps in the sessions one after the other."""

    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    shards: tuple[int, ...] | None
    dtype: str
    fill: Any
    order: str
    codec: str
    big_endian: bool
    transposed: bool
    write_empty: bool
    packs: str
    inline: int
    sessions: list[list[Step]]

    def repository(self, storage: Any) -> icechunk_core.Repository:
        config = icechunk_core.RepositoryConfig(inline_chunk_threshold_bytes=self.inline)
        return icechunk_core.Repository.create(storage, config, packs=PACKS[self.packs])

    def create(self, store: Any) -> None:
        filters = [zarr.codecs.TransposeCodec(order=tuple(range(len(self.shape)))[::-1])]
        serializer: Any = "auto"
        if self.big_endian and np.dtype(self.numpy_dtype).kind in "iufc":
            serializer = zarr.codecs.BytesCodec(endian="big")
        zarr.create_array(
            store,
            name="a",
            shape=self.shape,
            chunks=self.chunks,
            shards=self.shards,
            dtype=str if self.dtype == "str" else self.numpy_dtype,
            fill_value=self.fill,
            compressors=COMPRESSORS[self.codec],
            filters=filters if self.transposed else None,
            serializer=serializer,
        )

    @property
    def numpy_dtype(self) -> Any:
        return {"struct": STRUCT, "str": np.dtype(object)}.get(self.dtype, self.dtype)

    @property
    def config(self) -> Any:
        return {"order": self.order, "write_empty_chunks": self.write_empty}

    def values(self, step: Step, shape: tuple[int, ...]) -> Any:
        """Values with many repetitions, so that some chunks are empty."""
        assert step.seed is not None
        random = np.random.default_rng(step.seed)
        count = () if step.scalar else shape
        pick = random.integers(0, 5, size=count)
        if step.seed % 3 == 0:
            pick = np.zeros(count, dtype=np.int64)
        if self.dtype == "str":
            return np.array(["", "x", "abc", "ä", "0"], dtype=object)[pick] if count else "x"
        dtype = np.dtype(self.numpy_dtype)
        if self.dtype == "struct":
            choice = np.array([(0, 0.0), (1, -0.0), (2, 3.5), (-1, 9.0), (5, 1.0)], dtype=dtype)
        elif dtype.kind in "SU":
            choice = np.array(["", "x", "ab", "b", "c"]).astype(dtype)
        elif dtype.kind in "mM":
            choice = np.array([0, 1, 2**40, -5, 77]).astype(dtype)
        else:
            choice = np.array([0, 1, 2, 7, 9]).astype(dtype)
            if dtype.kind in "fc":
                choice[1:3] = -0.0, float("nan")
        choice[0] = self.fill
        return choice[pick]


def arrays_of(program: Program, store: Any, mode: str = "r+") -> Any:
    """The array of a program in a store."""
    return zarr.open_array(store, path="a", mode=mode, config=program.config)


@st.composite
def _slices(draw: Any, size: int) -> slice:
    start = draw(st.integers(0, size))
    stop = draw(st.integers(start, size))
    return slice(start, stop, draw(st.sampled_from([None, 1, 2, 3])))


@st.composite
def _steps(draw: Any, shape: tuple[int, ...], chunks: tuple[int, ...]) -> Step:
    kind = draw(st.sampled_from(["all", "basic", "basic", "oindex", "vindex", "mask", "blocks"]))
    if kind == "all":
        selection: Any = ...
    elif kind == "basic":
        selection = tuple(
            draw(st.one_of(_slices(n), st.just(slice(None)), st.integers(-n, n - 1))) for n in shape
        )
    elif kind == "oindex":
        lists = [st.lists(st.integers(0, n - 1), min_size=1, max_size=n, unique=True) for n in shape]
        selection = tuple(
            draw(st.one_of(_slices(n), st.integers(0, n - 1), which.map(np.array)))
            for n, which in zip(shape, lists, strict=True)
        )
    elif kind == "vindex":
        count = draw(st.integers(1, 6))
        points = draw(
            st.lists(
                st.tuples(*[st.integers(0, n - 1) for n in shape]), min_size=1, max_size=count, unique=True
            )
        )
        selection = tuple(np.array(axis) for axis in zip(*points, strict=True))
    elif kind == "mask":
        seed = draw(st.integers(0, 99))
        selection = np.random.default_rng(seed).random(shape) < 0.4
    else:
        grid = [-(-n // c) for n, c in zip(shape, chunks, strict=True)]
        selection = tuple(draw(st.one_of(st.integers(0, n - 1), st.just(slice(None)))) for n in grid)
    seed = draw(st.one_of(st.integers(0, 10**6), st.integers(0, 10**6), st.none()))
    return Step(kind, selection, seed, draw(st.integers(0, 4)) == 4)


@st.composite
def programs(draw: Any) -> Program:
    """Any program that zarr allows."""
    shape = tuple(draw(st.lists(st.integers(1, 9), min_size=1, max_size=3)))
    chunks = tuple(draw(st.integers(1, min(4, n))) for n in shape)
    sharded = draw(st.integers(0, 9)) == 9
    dtype = draw(st.sampled_from(list(FILLS)))
    step = _steps(shape, chunks if not sharded else tuple(2 * c for c in chunks))
    sessions = draw(st.lists(st.lists(step, min_size=1, max_size=4), min_size=1, max_size=2))
    sessions[0].insert(0, Step("all", ..., draw(st.integers(0, 10**6)), False))
    return Program(
        shape=shape,
        chunks=chunks,
        shards=tuple(2 * c for c in chunks) if sharded else None,
        dtype=dtype,
        fill=draw(st.sampled_from(FILLS[dtype])),
        order=draw(st.sampled_from("CF")),
        codec=draw(st.sampled_from(["none", "none", "none", *COMPRESSORS])),
        big_endian=draw(st.booleans()),
        transposed=draw(st.integers(0, 5)) == 5,
        write_empty=draw(st.booleans()),
        packs=draw(st.sampled_from([*PACKS, "packs"])),
        inline=draw(st.sampled_from([0, 0, 0, 12, 512])),
        sessions=sessions,
    )
