"""Commands that only look: info, log, tree, ls, show, diff, ops, inspect, stats."""

from __future__ import annotations

import json
from typing import Annotated, Any

import attrs
import typer

from icechunk_core.cli.arguments import (
    AsJson,
    Options,
    Ref,
    Url,
    open_repository,
    resolve_snapshot,
    session_at,
)
from icechunk_core.cli.exit_codes import ExitCode
from icechunk_core.cli.nodes import members, node_metadata
from icechunk_core.cli.output import (
    bytes_text,
    fail,
    print_json,
    print_lines,
    print_pairs,
    print_table,
    time_text,
)
from icechunk_core.cli.progress import shown_progress
from icechunk_core.repository import Repository, SnapshotInfo, Update
from icechunk_core.transaction.diff import Diff

__all__ = ["register"]

Path = Annotated[str, typer.Argument(help="Path of a node, such as /ocean/temperature.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (info, log, tree, ls, show, diff, ops, inspect, stats):
        app.command()(command)


def info(url: Url, option: Options = None, as_json: AsJson = False) -> None:
    """What is at a location: version, branches, tags, status, configuration."""
    repo = open_repository(url, option)
    facts = _facts(repo)
    if as_json:
        print_json(facts)
        return
    shown = {name.replace("_", " "): _one_line(value) for name, value in facts.items()}
    print_pairs(shown)


def _facts(repo: Repository) -> dict[str, Any]:
    tip = repo.lookup_branch("main")
    latest = repo.lookup_snapshot(tip)
    facts: dict[str, Any] = {
        "storage": repr(repo.storage),
        "spec_version": int(repo.spec_version),
        "branches": {name: repo.lookup_branch(name) for name in sorted(repo.list_branches())},
        "tags": {name: repo.lookup_tag(name) for name in sorted(repo.list_tags())},
        "latest_on_main": f"{latest.id} {time_text(latest.written_at)} {latest.message}",
        "commit_safe": repo.storage.capabilities.commit_safe,
    }
    if int(repo.spec_version) >= 2:
        status = repo.get_status()
        facts["status"] = status.availability.name + (
            f": {status.limited_availability_reason}" if status.limited_availability_reason else ""
        )
        facts["metadata"] = repo.get_metadata()
    return facts


def _one_line(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} ({item})" for key, item in value.items()) or "-"
    return {True: "yes", False: "no"}.get(value, str(value)) if isinstance(value, bool) else str(value)


def log(
    url: Url,
    ref: Annotated[str, typer.Option("--ref", "-r", help="Only the history of a branch, tag or id.")] = "",
    limit: Annotated[int, typer.Option("--limit", "-n", help="Show so many at most.")] = 0,
    plain: Annotated[bool, typer.Option("--plain", help="No colours.")] = False,
    option: Options = None,
    as_json: AsJson = False,
) -> None:
    """The history: all branches as a graph, or one line of descent."""
    repo = open_repository(url, option)
    if as_json:
        print_json([_snapshot(each) for each in _entries(repo, ref, limit)])
    elif ref and limit:
        for each in _entries(repo, ref, limit):
            print_lines(f"{each.id}  {time_text(each.written_at)}  {each.message}")
    else:
        start = {"snapshot_id": resolve_snapshot(repo, ref)} if ref else {}
        lines = repo.ancestry_graph(**start, plain=True).render(color=not plain).splitlines()
        print_lines("\n".join(lines[: 2 * limit - 1] if limit else lines))


def _entries(repo: Repository, ref: str, limit: int) -> list[SnapshotInfo]:
    starts = [ref] if ref else sorted(repo.list_branches() | repo.list_tags())
    found: dict[str, SnapshotInfo] = {}
    for start in starts:
        for number, each in enumerate(repo.ancestry(snapshot_id=resolve_snapshot(repo, start))):
            if each.id in found or (limit and number >= limit):
                break
            found[each.id] = each
    newest_first = sorted(found.values(), key=lambda each: each.written_at, reverse=True)
    return newest_first[:limit] if limit else newest_first


def _snapshot(each: SnapshotInfo) -> dict[str, Any]:
    return {
        "id": each.id,
        "parent_id": each.parent_id,
        "written_at": each.written_at,
        "message": each.message,
        "metadata": each.metadata,
    }


def tree(
    url: Url,
    path: Path = "/",
    ref: Ref = "main",
    option: Options = None,
) -> None:
    """Groups and arrays, with shapes and types."""
    print_lines(repr(session_at(open_repository(url, option), ref).tree("/" + path.strip("/"))))


def ls(
    url: Url,
    path: Path = "/",
    ref: Ref = "main",
    option: Options = None,
    as_json: AsJson = False,
) -> None:
    """The members of a group."""
    session = session_at(open_repository(url, option), ref)
    rows = []
    for name, metadata in members(session, path):
        kind = metadata.get("node_type", "group")
        shape = metadata.get("shape")
        rows.append({"name": name, "kind": kind, "shape": shape, "data_type": metadata.get("data_type")})
    if as_json:
        print_json(rows)
    else:
        print_table(
            ["name", "kind", "shape", "type"],
            [(row["name"], row["kind"], _shape(row["shape"]), _type(row["data_type"])) for row in rows],
        )


def _shape(shape: Any) -> str:
    return "" if shape is None else " × ".join(map(str, shape)) or "scalar"


def _type(data_type: Any) -> str:
    if data_type is None:
        return ""
    return str(data_type.get("name")) if isinstance(data_type, dict) else str(data_type)


def show(
    url: Url,
    path: Path,
    ref: Ref = "main",
    option: Options = None,
    as_json: AsJson = False,
) -> None:
    """A node: its metadata, and of an array a map of its chunks."""
    session = session_at(open_repository(url, option), ref)
    metadata = node_metadata(session, path)
    if metadata.get("node_type") != "array":
        print_json(metadata)
        return
    chunks = session.chunk_map("/" + path.strip("/"))
    if as_json:
        counts = {"total": chunks.total, "missing": chunks.missing, **chunks.counts}
        print_json({"metadata": metadata, "chunks": counts, "chunk_bytes": chunks.sizes})
        return
    print_pairs(
        {
            "shape": _shape(metadata["shape"]),
            "type": _type(metadata["data_type"]),
            "chunk grid": json.dumps(metadata["chunk_grid"].get("configuration", {})),
            "codecs": ", ".join(str(codec.get("name")) for codec in metadata.get("codecs", ())),
            "fill value": json.dumps(metadata.get("fill_value")),
            "dimensions": ", ".join(str(name) for name in metadata.get("dimension_names") or ()) or "-",
            "attributes": json.dumps(metadata.get("attributes", {})),
        }
    )
    print_lines("")
    print_lines(repr(chunks))


def diff(
    url: Url,
    old: Annotated[str, typer.Argument(help="A branch, tag or snapshot id; main~1 is the one before main.")],
    new: Annotated[str, typer.Argument(help="A branch, tag or snapshot id.")] = "main",
    option: Options = None,
    as_json: AsJson = False,
) -> None:
    """What changed between two versions, the older one first."""
    repo = open_repository(url, option)
    start, end = resolve_snapshot(repo, old), resolve_snapshot(repo, new)
    found = Diff() if start == end else repo.diff(from_snapshot_id=start, to_snapshot_id=end)
    if as_json:
        print_json(_diff(found))
    else:
        print_lines(str(found).rstrip() or "nothing changed")


def _diff(found: Diff) -> dict[str, Any]:
    names = ("new_groups", "new_arrays", "deleted_groups", "deleted_arrays", "updated_groups")
    sets = {name: sorted(getattr(found, name)) for name in (*names, "updated_arrays")}
    return {**sets, "updated_chunks": found.updated_chunks, "moved_nodes": found.moved_nodes}


def ops(
    url: Url,
    limit: Annotated[int, typer.Option("--limit", "-n", help="Show so many at most; 0 for all.")] = 50,
    option: Options = None,
    as_json: AsJson = False,
) -> None:
    """Everything that was done to the repository, newest first (spec 2)."""
    repo = open_repository(url, option)
    updates: list[Update] = []
    for update in repo.ops_log():
        updates.append(update)
        if limit and len(updates) >= limit:
            break
    rows = [(update.updated_at, _operation(update), _details(update)) for update in updates]
    if as_json:
        print_json([{"at": at, "operation": name, **details} for at, name, details in rows])
    else:
        print_table(
            ["when", "operation", "details"],
            [
                (time_text(at), name, ", ".join(f"{key}={value}" for key, value in details.items()))
                for at, name, details in rows
            ],
        )


def _operation(update: Update) -> str:
    return type(update.kind).__name__.lstrip("_")


def _details(update: Update) -> dict[str, Any]:
    kind: Any = update.kind
    return {field.name: str(getattr(kind, field.name)) for field in attrs.fields(type(kind))}


def inspect(
    url: Url,
    what: Annotated[
        str, typer.Argument(help="repo, snapshot, manifest or transaction-log.", metavar="KIND")
    ] = "repo",
    id: Annotated[str, typer.Argument(help="Id of the object; of a snapshot also a branch or tag.")] = "main",
    option: Options = None,
) -> None:
    """The decoded content of one object, as JSON."""
    repo = open_repository(url, option)
    if what == "repo":
        print_json(repo.inspect_repo_info())
    elif what == "snapshot":
        print_json(repo.inspect_snapshot(resolve_snapshot(repo, id)))
    elif what == "transaction-log":
        print_json(repo.inspect_transaction_log(resolve_snapshot(repo, id)))
    elif what == "manifest":
        print_json(repo.inspect_manifest(id))
    else:
        raise fail(
            f"{what!r} cannot be inspected; say repo, snapshot, manifest or transaction-log", ExitCode.USAGE
        )


def stats(
    url: Url,
    option: Options = None,
    as_json: AsJson = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> None:
    """How many bytes the chunks of all versions take, and how well packs are used."""
    repo = open_repository(url, option)
    with shown_progress(quiet=quiet or as_json) as progress:
        chunks = repo.chunk_storage_stats(progress=progress)
        packs = repo.pack_stats(progress=progress)
    if as_json:
        names = ("native_bytes", "virtual_bytes", "inlined_bytes", "total_bytes")
        print_json({**{name: getattr(chunks, name) for name in names}, "packs": attrs.asdict(packs)})
        return
    print_pairs(
        {
            "in the repository": bytes_text(chunks.native_bytes),
            "in other files": bytes_text(chunks.virtual_bytes),
            "in manifests": bytes_text(chunks.inlined_bytes),
            "chunk objects": f"{packs.objects:,} with {bytes_text(packs.bytes)}",
            "in use of those": bytes_text(packs.live_bytes),
            "not in use": bytes_text(packs.dead_bytes),
            "unused objects": f"{packs.unused_objects:,} with {bytes_text(packs.unused_bytes)}",
        }
    )
