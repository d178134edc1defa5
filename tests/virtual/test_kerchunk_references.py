"""kerchunk's references as written by hand: forms, keys, places, and what their metadata become."""

from __future__ import annotations

import base64
import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import pytest
import xarray
import zarr

import icechunk_core as ic
from icechunk_core.kerchunk import from_kerchunk

pytestmark = [
    pytest.mark.filterwarnings("ignore:Numcodecs codecs are not in the Zarr version 3"),
    pytest.mark.filterwarnings("ignore:.*does not have a Zarr V3 specification"),
    pytest.mark.filterwarnings("ignore:The codec `vlen-utf8` is currently not part"),
]

needs_numcodecs = pytest.mark.skipif(
    tuple(map(int, version("zarr").split(".")[:3])) < (3, 1, 3),
    reason="the codecs of numcodecs come with zarr 3.1.3 and later",
)
VALUES = np.arange(12, dtype="<i4").reshape(3, 4)


def repository(folder: Path) -> ic.Repository:
    """One that may read everything below a directory."""
    prefix = f"file://{folder}/"
    config = ic.RepositoryConfig.default()
    config.set_virtual_chunk_container(
        ic.VirtualChunkContainer(prefix, ic.local_filesystem_store(str(folder)))
    )
    return ic.Repository.create("memory:", config, {prefix: ic.Credentials.LocalFileSystemAccess()})


def imported(folder: Path, references: Any, **options: Any) -> zarr.Group:
    """The group that references become."""
    session = repository(folder).writable_session("main")
    from_kerchunk(references, session.store, **options)
    return zarr.open_group(session.store, mode="r")


def described(references: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """References of an array ``x`` of `VALUES` in rows."""
    document = {
        "zarr_format": 2, "shape": [3, 4], "chunks": [1, 4], "dtype": "<i4", "fill_value": None,
        "order": "C", "compressor": None, "filters": None,
    }  # fmt: skip
    names = ["y", "x"][: len(changes.get("shape", "yx"))]
    dims = json.dumps({"_ARRAY_DIMENSIONS": names})
    return {
        ".zgroup": '{"zarr_format": 2}',
        "x/.zarray": json.dumps(document | changes),
        "x/.zattrs": dims,
        **references,
    }


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """A file with each row of `VALUES`, and one with all of them behind a header."""
    for number, row in enumerate(VALUES):
        (tmp_path / f"row-{number}.bin").write_bytes(row.tobytes())
    (tmp_path / "all.bin").write_bytes(b"HEADER" + VALUES.tobytes())
    return tmp_path


def test_every_kind_of_reference(rows: Path) -> None:
    """A part of a file, a whole file, bytes in base64; a document may be an object instead of text."""
    inline = "base64:" + base64.b64encode(VALUES[2].tobytes()).decode()
    references = described(
        {"x/0.0": [f"{rows}/all.bin", 6, 16], "x/1.0": [f"{rows}/row-1.bin"], "x/2.0": inline}
    )
    references["x/.zarray"] = json.loads(references["x/.zarray"])
    group = imported(rows, references)
    np.testing.assert_array_equal(group["x"][:], VALUES)
    assert group["x"].metadata.dimension_names == ("y", "x")
    session = group.store.session
    kinds = [session.chunk_type("/x", [row, 0]).name for row in range(3)]
    assert kinds == ["virtual", "virtual", "inline"]


def test_text_as_bytes(tmp_path: Path) -> None:
    """A reference that is text holds its characters."""
    group = imported(tmp_path, described({"x/0": "spam"}, shape=[4], chunks=[4], dtype="|u1"))
    assert group["x"][:].tobytes() == b"spam"


def test_templates(rows: Path) -> None:
    """Version 1: names, functions with arguments, and generated references."""
    pytest.importorskip("jinja2")
    references = {
        "version": 1,
        "templates": {"all": f"{rows}/all.bin", "row": str(rows) + "/row-{{n}}.bin"},
        "refs": described({"x/0.0": ["{{all}}", 6, 16], "x/1.0": ["{{row(n=1)}}"]}),
        "gen": [
            {
                "key": "x/{{i}}.0", "url": "{{row(n=i)}}", "offset": "{{4 * 0}}", "length": "16",
                "dimensions": {"i": {"start": 2, "stop": 3}},
            },
            {
                "key": "x/{{i}}.0", "url": "{{all}}", "offset": "{{6 + 16 * i}}", "length": 16,
                "dimensions": {"i": [0]},
            },
        ],
    }  # fmt: skip
    np.testing.assert_array_equal(imported(rows, references)["x"][:], VALUES)


def test_templates_are_rendered_in_a_sandbox(rows: Path) -> None:
    """Nobody's references run programs here."""
    exceptions = pytest.importorskip("jinja2.exceptions")
    bad = {"version": 1, "templates": {"u": "x"}, "refs": described({"x/0.0": ["{{ u.__class__.__mro__ }}"]})}
    with pytest.raises(exceptions.SecurityError):
        imported(rows, bad)


def test_groups_and_separators(rows: Path) -> None:
    """Groups in groups with attributes, keys with slashes, missing chunks, an array without dimensions."""
    plain = described({"x/0/0": [f"{rows}/row-0.bin"]}, dimension_separator="/", fill_value=-7)
    references = {f"outer/inner/{key}": ref for key, ref in plain.items()}
    references |= {".zgroup": '{"zarr_format": 2}', ".zattrs": '{"title": "t"}'}
    references |= {"outer/.zgroup": '{"zarr_format": 2}', "outer/.zattrs": {"level": 1}}
    references["s/.zarray"] = {**json.loads(plain["x/.zarray"]), "shape": [], "chunks": [], "fill_value": 0}
    references["s/0"] = "base64:KgAAAA=="
    group = imported(rows, references)
    assert group.attrs.asdict() == {"title": "t"}
    assert group["outer"].attrs.asdict() == {"level": 1}
    assert group["s"][()] == 42
    expected = np.where(np.arange(3)[:, None] == 0, VALUES, -7)
    np.testing.assert_array_equal(group["outer/inner/x"][:], expected)


def test_places(tmp_path: Path) -> None:
    """Relative paths need a base, special characters are kept, fsspec's names of schemes are known."""
    (tmp_path / "50% #1?.bin").write_bytes(VALUES.tobytes())
    references = described({"x/0.0": ["50% #1?.bin", 0, 48]}, chunks=[3, 4])
    np.testing.assert_array_equal(imported(tmp_path, references, base_url=str(tmp_path))["x"][:], VALUES)
    with pytest.raises(ic.InvalidInputError, match="base_url"):
        imported(tmp_path, references)
    group = imported(
        tmp_path, described({"x/0.0": ["gcs://b/k%", 0, 48]}, chunks=[3, 4]), validate_containers=False
    )
    assert group.store.session.all_virtual_chunk_locations() == ["gs://b/k%25"]


CODECS = [
    None,
    {"id": "gzip", "level": 5},
    {"id": "zstd", "level": 3},
    {"id": "blosc", "cname": "lz4", "clevel": 5, "shuffle": 2, "blocksize": 0},
    pytest.param({"id": "zlib", "level": 5}, marks=needs_numcodecs),
    pytest.param({"id": "lz4", "acceleration": 1}, marks=needs_numcodecs),
    pytest.param({"id": "bz2", "level": 1}, marks=needs_numcodecs),
]


def as_references(folder: Path) -> dict[str, Any]:
    """References to the files of a Zarr hierarchy of format 2: metadata as text, chunks as whole files."""
    found: dict[str, Any] = {}
    for path in folder.rglob("*"):
        if path.is_file():
            key = path.relative_to(folder).as_posix()
            found[key] = path.read_text() if path.name.startswith(".z") else [str(path)]
    return found


def check_v2(folder: Path, **settings: Any) -> None:
    """An array of format 2 has the same type, values and attributes when its files are referenced."""
    data = settings.pop("data")
    old_group = zarr.create_group(str(folder), zarr_format=2)
    old = old_group.create_array("x", shape=data.shape, dtype=settings.pop("dtype", data.dtype), **settings)
    old[...] = data
    group = imported(folder, as_references(folder))
    new = group["x"]
    assert new.dtype == old.dtype or new.dtype.newbyteorder("=") == old.dtype.newbyteorder("=")
    np.testing.assert_array_equal(np.asarray(new[...]), np.asarray(old[...]))


@pytest.mark.parametrize("compressor", CODECS, ids=lambda codec: codec["id"] if codec else "none")
def test_compressors(compressor: Any, tmp_path: Path) -> None:
    """Whatever compressor of format 2 has made the chunks, they are read."""
    codec = numcodecs.get_codec(compressor) if compressor else None
    check_v2(tmp_path, data=np.arange(60.0).reshape(6, 10), chunks=(4, 5), compressors=codec)


@pytest.mark.parametrize(
    "dtype", ["<f4", ">f8", ">i2", "|u1", "|b1", "<c8", "|S5", "<U3", "<M8[s]", "<f2", "<m8[D]"]
)
def test_types(dtype: str, tmp_path: Path) -> None:
    """Numbers of both byte orders, truth values, texts of fixed length, times."""
    data = np.arange(10).astype("i8").astype(np.dtype(dtype))
    check_v2(tmp_path, data=data, chunks=(4,), compressors=None)


def test_texts(tmp_path: Path) -> None:
    """Texts of any length."""
    from zarr.core.dtype import VariableLengthUTF8

    data = np.array(["", "a", "äöü", "longer text"], dtype=object)
    check_v2(tmp_path, data=data, dtype=VariableLengthUTF8(), chunks=(3,), compressors=numcodecs.Zstd())


@needs_numcodecs
def test_fortran_order_and_filters(tmp_path: Path) -> None:
    """Chunks in column order, and filters on arrays and on bytes, in the right sequence."""
    data = np.arange(24.0).reshape(4, 6)
    check_v2(tmp_path / "order", data=data, chunks=(3, 4), order="F", compressors=numcodecs.Zlib())
    filters = [
        numcodecs.FixedScaleOffset(offset=0, scale=10, dtype="<f8", astype="<i4"),
        numcodecs.Delta("<i4"),
    ]
    check_v2(tmp_path / "filters", data=data, chunks=(4, 6), filters=filters, compressors=numcodecs.Blosc())
    check_v2(tmp_path / "bytes", data=data, chunks=(4, 3), filters=[numcodecs.Shuffle(8)], compressors=None)


@pytest.mark.parametrize(
    ("dtype", "fill", "missing"),
    [("<f4", None, np.nan), ("<f4", "NaN", np.nan), ("<f8", -9.5, -9.5), ("<i4", None, 0), ("<i2", -99, -99)],
)
def test_fill_values(dtype: str, fill: Any, missing: Any, tmp_path: Path) -> None:
    """Missing chunks read as in format 2, and xarray masks by the fill value as it does there."""
    references = described({}, dtype=dtype, fill_value=fill)
    group = imported(tmp_path, references)
    np.testing.assert_array_equal(group["x"][:], np.full((3, 4), missing, dtype=dtype))
    with xarray.open_dataset(group.store, engine="zarr", consolidated=False) as found:
        masked = found.x.encoding.get("_FillValue")
        assert (masked is None) == (fill is None)
        if fill is not None:
            np.testing.assert_equal(masked, float("nan") if fill == "NaN" else fill)


def test_zarr_3_references(rows: Path) -> None:
    """Metadata of format 3, as VirtualiZarr also writes them, are kept."""
    document = {
        "zarr_format": 3, "node_type": "array", "shape": [3, 4], "data_type": "int32",
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [1, 4]}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "."}},
        "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}], "fill_value": 0,
        "attributes": {"unit": "m"}, "dimension_names": ["y", "x"],
    }  # fmt: skip
    root = {"zarr_format": 3, "node_type": "group", "attributes": {"title": "t"}}
    chunks = {f"x/c.{row}.0": [f"{rows}/row-{row}.bin"] for row in range(3)}
    group = imported(rows, {"zarr.json": root, "x/zarr.json": json.dumps(document), **chunks})
    np.testing.assert_array_equal(group["x"][:], VALUES)
    assert (group.attrs["title"], group["x"].attrs["unit"]) == ("t", "m")


def test_appending(rows: Path) -> None:
    """Rows behind rows; the chunks that the references hold themselves as well."""
    first = described({"x/0.0": [f"{rows}/row-0.bin"]}, shape=[1, 4])
    inline = "base64:" + base64.b64encode(VALUES[1].tobytes()).decode()
    more = described({"x/0.0": inline, "x/1.0": [f"{rows}/all.bin", 38, 16]}, shape=[2, 4])
    session = repository(rows).writable_session("main")
    from_kerchunk(first, session.store)
    from_kerchunk(more, session.store, append_dim="y")
    np.testing.assert_array_equal(zarr.open_array(session.store, path="x", mode="r")[:], VALUES)
    with pytest.raises(ic.InvalidInputError, match="'z'"):
        from_kerchunk(more, session.store, append_dim="z")
    with pytest.raises(ic.InvalidInputError, match="data_type"):
        from_kerchunk(described({}, dtype="<u4"), session.store, append_dim="y")
    with pytest.raises(ic.InvalidInputError, match="mode='w'"):
        from_kerchunk(more, session.store, append_dim="y", mode="w")


def test_sparse_arrays(tmp_path: Path) -> None:
    """Few references into a grid of a hundred thousand million chunks take no more than they are."""
    (tmp_path / "one.bin").write_bytes(b"\x07")
    size = 10**5
    references = described(
        {f"x/{at}.{at}": [f"{tmp_path}/one.bin", 0, 1] for at in (0, size - 1)},
        shape=[size, size], chunks=[1, 1], dtype="|u1", fill_value=1,
    )  # fmt: skip
    array = imported(tmp_path, references)["x"]
    assert (array[0, 0], array[0, 1], array[size - 1, size - 1]) == (7, 1, 7)


MALFORMED = [
    ({"version": 3, "refs": {}}, "version 3"),
    (described({"x/0.0": ["/a", 1]}), "neither"),
    (described({"x/0.0": ["/a", -1, 4]}), "not negative"),
    (described({"x/0.0": ""}), "is empty"),
    (described({"x/7.0": ["/a", 0, 4]}), "no chunk of an array"),
    (described({"x/0": ["/a", 0, 4]}), "no chunk of an array"),
    (described({"x/a.b": ["/a", 0, 4]}), "no chunk of an array"),
    (described({"y/0.0": ["/a", 0, 4]}), "belongs to no array"),
    ({**described({}), "x/.zarray": "{"}, "no JSON"),
    ({**described({}), "x/.zarray": "[1]"}, "no JSON object"),
    ({**described({}), "x/.zarray": ["/a"]}, "metadata has to be in the reference set"),
    ({**described({}), "x/.zarray": "{}"}, "cannot be expressed"),
    ({".zarray": described({})["x/.zarray"]}, "without a group"),
    (described({}, dtype="|O"), "cannot be expressed"),
    (described({}, compressor={"id": "unheard-of"}), "unheard-of"),
    (described({}, filters=[{"id": "json2"}]), "json2"),
    pytest.param(
        described({}, filters=[{"id": "shuffle", "elementsize": 4}, {"id": "delta", "dtype": "<i4"}]),
        "works on arrays", marks=needs_numcodecs,
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("references", "told"), MALFORMED, ids=lambda each: each if isinstance(each, str) else ""
)
def test_what_is_malformed(references: Any, told: str, tmp_path: Path) -> None:
    """Each mistake is told by the key or array that it is in, and no array is written."""
    session = repository(tmp_path).writable_session("main")
    with pytest.raises(ic.InvalidInputError, match=told):
        from_kerchunk(references, session.store, validate_containers=False)
    assert not list(zarr.open_group(session.store, mode="a").members())


def test_sources_that_are_none(tmp_path: Path) -> None:
    """No file, no JSON, no object, no text."""
    with pytest.raises(ic.errors.NotFound):
        imported(tmp_path, tmp_path / "nothing.json")
    for text in ("{", "[1]"):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(ic.InvalidInputError, match="JSON"):
            imported(tmp_path, str(tmp_path / "bad.json"))
    with pytest.raises(ic.InvalidInputError, match="list"):
        imported(tmp_path, [])


def test_sizes_that_cannot_be_had(tmp_path: Path) -> None:
    """A whole file that is gone is told by its location before anything is written."""
    session = repository(tmp_path).writable_session("main")
    with pytest.raises(ic.StorageError, match=r"gone\.bin"):
        from_kerchunk(described({"x/0.0": [f"{tmp_path}/gone.bin"]}), session.store)
    other = ic.Repository.create("memory:").writable_session("main")
    with pytest.raises(ic.InvalidInputError, match="container"):
        from_kerchunk(described({"x/0.0": ["/a", 0, 4]}), other.store)
