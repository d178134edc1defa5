"""The command that refers to NetCDF and HDF5 files instead of copying them: import-virtual."""

from __future__ import annotations

import copy
import importlib
import warnings
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from icechunk_core.cli.arguments import Options, Url, named_options, storage_at
from icechunk_core.cli.exit_codes import ExitCode
from icechunk_core.cli.importing import Branch, Group, Message, has_dimension, import_message
from icechunk_core.cli.output import errors, fail, print_lines
from icechunk_core.errors import NotFound
from icechunk_core.format.configuration import ObjectStoreConfig, VirtualChunkContainer
from icechunk_core.repository import Repository
from icechunk_core.storage import azure_store, gcs_store, http_store, local_filesystem_store, s3_store

__all__ = ["register", "store_for"]

_STORED = ("region", "endpoint_url", "allow_http", "anonymous", "force_path_style")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("import-virtual")(import_virtual)


def import_virtual(
    files: Annotated[
        list[str], typer.Argument(help="NetCDF 4 or HDF5 files: paths or URLs.", metavar="FILE...")
    ],
    url: Url,
    group: Group = "/",
    branch: Branch = "main",
    message: Message = "",
    append_dim: Annotated[
        str,
        typer.Option(
            "--append-dim",
            "--concat",
            "-d",
            help="Append the files one after the other along this dimension.",
        ),
    ] = "",
    source_option: Annotated[
        list[str] | None,
        typer.Option(
            "--source-option",
            "-s",
            help="NAME=VALUE for the storage that the files are on; repeatable.",
            metavar="NAME=VALUE",
        ),
    ] = None,
    option: Options = None,
) -> None:
    """Refer to NetCDF 4 or HDF5 files where they are, in one commit. The repository is made if there is none.

    Nothing is copied: the files have to stay as they are. Where they are is added to the repository's
    configuration; credentials are not.
    """
    if len(files) > 1 and not append_dim:
        raise fail(
            "several files need --append-dim, the dimension to put them together along", ExitCode.USAGE
        )
    virtualizarr = _virtualizarr()
    options = named_options(source_option, "--source-option")
    opened = []
    for number, file in enumerate(files):
        errors().print(f"{number + 1}/{len(files)} {file}")
        opened.append((file, _opened(virtualizarr, file, options)))
    containers = {virtualizarr.folder_and_name(virtualizarr.url_of(file))[0] for file in files}
    repo = _with_containers(storage_at(url, option), sorted(containers), options)
    session = repo.writable_session(branch)
    name = group.strip("/") or None
    for _, dataset in opened:
        append = append_dim and has_dimension(session.store, name, append_dim)
        kind = {"append_dim": append_dim} if append else {"mode": "a"}
        virtualizarr.to_icechunk(dataset, session.store, group=name, **kind)
    snapshot_id = session.commit(message or import_message(files))
    print_lines(
        f"referred to {len(files)} files; branch {branch} is at {snapshot_id}\n"
        f"readers have to authorise {' and '.join(sorted(containers))}"
    )


def _virtualizarr() -> Any:
    try:
        importlib.import_module("virtualizarr")
    except ModuleNotFoundError as error:
        raise fail(
            "this needs VirtualiZarr: pip install 'icechunk-core[virtualizarr]'", ExitCode.USAGE
        ) from error
    # zarr says of each codec for HDF5's filters that its format does not specify it.
    warnings.filterwarnings("ignore", message="Numcodecs codecs are not in the Zarr version 3")
    return importlib.import_module("icechunk_core.virtualizarr")


def _opened(virtualizarr: Any, file: str, options: Mapping[str, Any]) -> Any:
    try:
        return virtualizarr.open_virtual_dataset(file, storage_options=options)
    except NotFound as error:
        raise fail(f"there is no file {file!r}", ExitCode.NOT_FOUND) from error
    except (OSError, ValueError) as error:
        raise fail(f"{file!r} is no NetCDF 4 or HDF5 file: {error}", ExitCode.FAILED) from error


def _with_containers(storage: Any, prefixes: Sequence[str], options: Mapping[str, Any]) -> Repository:
    """The repository, made if need be, in whose configuration each prefix is a container."""
    repo = Repository.open_or_create(storage)
    config = copy.deepcopy(repo.config)
    known = config.virtual_chunk_containers or {}
    missing = {
        prefix: store_for(prefix, options)
        for prefix in prefixes
        if not any(prefix.startswith(each) for each in known)
    }
    added = {prefix: store for prefix, store in missing.items() if store is not None}
    for prefix, store in added.items():
        config.set_virtual_chunk_container(VirtualChunkContainer(prefix, store))
    if added:
        repo = repo.reopen(config)
        repo.save_config()
    return repo


def store_for(prefix: str, options: Mapping[str, Any]) -> ObjectStoreConfig | None:
    """What the configuration says about the storage of files; nothing for schemes that it does not know.

    >>> store_for("sqlite:///x/", {}) is None
    True
    """
    scheme = prefix.partition("://")[0].lower()
    if scheme == "file":
        return local_filesystem_store(prefix.removeprefix("file://"))
    if scheme in ("http", "https"):
        return http_store(opts={"allow_http": "true"} if scheme == "http" else None)
    if scheme == "s3":
        chosen: dict[str, Any] = {name: options[name] for name in _STORED if name in options}
        for name in ("allow_http", "anonymous", "force_path_style"):
            if name in chosen:
                chosen[name] = str(chosen[name]).lower() in ("true", "1", "yes", "on")
        return s3_store(s3_compatible="endpoint_url" in chosen, **chosen)
    if scheme in ("gs", "gcs"):
        return gcs_store()
    if scheme in ("az", "azure", "abfs") and "account" in options:
        return azure_store(account=str(options["account"]))
    return None
