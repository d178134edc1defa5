"""Commands that put existing data under version control: import-zarr, import-netcdf."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from icechunk_core.cli.arguments import Options, Url, storage_at
from icechunk_core.cli.exit_codes import ExitCode
from icechunk_core.cli.output import errors, fail, print_lines
from icechunk_core.repository import Repository

if TYPE_CHECKING:
    import xarray as xr
    import zarr

__all__ = ["Branch", "Group", "Message", "copy_hierarchy", "has_dimension", "import_message", "register"]

Message = Annotated[str, typer.Option("--message", "-m", help="What the commit says.")]
Branch = Annotated[str, typer.Option("--branch", "-b", help="The branch to commit to.")]
Group = Annotated[str, typer.Option("--group", "-g", help="Path of the group to write.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("import-zarr")(import_zarr)
    app.command("import-netcdf")(import_netcdf)


def import_zarr(
    source: Annotated[
        str, typer.Argument(help="A Zarr hierarchy (format 2 or 3): a path or URL that zarr opens.")
    ],
    url: Url,
    group: Group = "/",
    branch: Branch = "main",
    message: Message = "",
    option: Options = None,
) -> None:
    """Copy a Zarr hierarchy into a repository, in one commit. The repository is made if there is none."""
    import zarr

    try:
        opened = zarr.open(source, mode="r")
    except (FileNotFoundError, ValueError) as error:
        raise fail(f"{source!r} is no Zarr hierarchy: {error}", ExitCode.NOT_FOUND) from error
    repo = Repository.open_or_create(storage_at(url, option))
    session = repo.writable_session(branch)
    count = copy_hierarchy(opened, session.store, group.strip("/"))
    snapshot_id = session.commit(message or f"Import {source}", allow_empty=True)
    print_lines(f"imported {count} arrays; branch {branch} is at {snapshot_id}")


def copy_hierarchy(source: zarr.Group | zarr.Array[Any], store: Any, path: str) -> int:
    """Copy groups and arrays with their attributes; gives the number of arrays.

    Arrays keep shape, type, chunks, fill value, compressors and values. Those of Zarr format 2 become
    format 3.
    """
    import zarr

    if isinstance(source, zarr.Array):
        _copy_array(source, store, path)
        return 1
    target = zarr.open_group(store, path=path or None, mode="a", zarr_format=3)
    target.attrs.update(source.attrs.asdict())
    return sum(
        copy_hierarchy(member, store, f"{path}/{name}".lstrip("/")) for name, member in source.members()
    )


def _copy_array(source: zarr.Array[Any], store: Any, path: str) -> None:
    import zarr

    attributes = source.attrs.asdict()
    names: Any = getattr(source.metadata, "dimension_names", None)
    if source.metadata.zarr_format == 2:
        # Where xarray keeps them in format 2; format 3 has a place for them.
        names = attributes.pop("_ARRAY_DIMENSIONS", None)
    array = zarr.from_array(
        store, data=source, name=path or None, zarr_format=3, dimension_names=names, overwrite=True
    )
    array.attrs.put(attributes)


def import_netcdf(
    files: Annotated[
        list[str], typer.Argument(help="NetCDF or HDF5 files that xarray opens.", metavar="FILE...")
    ],
    url: Url,
    group: Group = "/",
    branch: Branch = "main",
    message: Message = "",
    append_dim: Annotated[
        str,
        typer.Option("--append-dim", "-d", help="Append the files one after the other along this dimension."),
    ] = "",
    engine: Annotated[str, typer.Option(help="xarray's engine, by default the one that fits.")] = "",
    option: Options = None,
) -> None:
    """Copy NetCDF or HDF5 files into a repository, in one commit. The repository is made if there is none."""
    xarray = _xarray()
    if len(files) > 1 and not append_dim:
        raise fail(
            "several files need --append-dim, the dimension to put them together along", ExitCode.USAGE
        )
    to_icechunk = importlib.import_module("icechunk_core.xarray").to_icechunk
    name = group.strip("/") or None
    session = None
    for number, file in enumerate(files):
        errors().print(f"{number + 1}/{len(files)} {file}")
        with _dataset(xarray, file, engine) as dataset:
            if session is None:  # not before a file could be opened, lest an empty repository is left
                session = Repository.open_or_create(storage_at(url, option)).writable_session(branch)
            append = append_dim and has_dimension(session.store, name, append_dim)
            kind = {"append_dim": append_dim} if append else {"mode": "a"}
            to_icechunk(dataset, session, group=name, **kind)
    assert session is not None  # typer has seen to it that there are files
    snapshot_id = session.commit(message or import_message(files))
    print_lines(f"imported {len(files)} files; branch {branch} is at {snapshot_id}")


def import_message(files: list[str]) -> str:
    """What the commit says where nobody said it."""
    names = [Path(file).name for file in files]
    return f"Import {', '.join(names[:3])}{' ...' if names[3:] else ''}"


def _xarray() -> Any:
    try:
        return importlib.import_module("xarray")
    except ModuleNotFoundError as error:
        raise fail(
            "this needs xarray and a reader: pip install 'icechunk-core[netcdf]'", ExitCode.USAGE
        ) from error


def _dataset(xarray: Any, file: str, engine: str) -> xr.Dataset:
    try:
        dataset = xarray.open_dataset(file, engine=engine or None)
    except FileNotFoundError as error:
        raise fail(f"there is no file {file!r}", ExitCode.NOT_FOUND) from error
    except (ValueError, OSError, ImportError) as error:
        hint = "" if engine else "\nnetCDF and HDF5 files are read with: pip install 'icechunk-core[netcdf]'"
        raise fail(f"xarray cannot open {file!r}: {error}{hint}", ExitCode.FAILED) from error
    # What the file says about its own chunks and compression does not fit Zarr.
    for variable in dataset.variables.values():
        variable.encoding = {
            name: value
            for name, value in variable.encoding.items()
            if name in {"units", "calendar", "dtype", "_FillValue", "scale_factor", "add_offset"}
        }
    opened: xr.Dataset = dataset
    return opened


def has_dimension(store: Any, group: str | None, dimension: str) -> bool:
    """Whether there is a group with an array that has a dimension of that name."""
    import zarr

    try:
        opened = zarr.open_group(store, path=group, mode="r")
    except FileNotFoundError:
        return False
    return any(
        dimension in (getattr(array.metadata, "dimension_names", None) or ()) for _, array in opened.arrays()
    )
