"""Nodes of a session as their metadata documents."""

from __future__ import annotations

import json
from typing import Any

from icechunk_core.drive import run
from icechunk_core.errors import Corrupt, NodeNotFoundError
from icechunk_core.format.snapshot import NodeSnapshot
from icechunk_core.session import Session

__all__ = ["members", "node_metadata"]


def node_metadata(session: Session, path: str) -> dict[str, Any]:
    """The ``zarr.json`` of a node.

    Raises
    ------
    NodeNotFoundError
        If there is none at the path.
    """
    state = session._state
    data = run(state.read_metadata(_clean(path)), may_suspend=state.may_suspend)
    if data is None:
        raise NodeNotFoundError(f"there is no node at {path!r}")
    return _document(data, path)


def members(session: Session, path: str) -> list[tuple[str, dict[str, Any]]]:
    """Names and ``zarr.json`` of the nodes right below a group.

    Raises
    ------
    NodeNotFoundError
        If there is no node at the path.
    """
    state, path = session._state, _clean(path)
    if path != "/":
        node_metadata(session, path)

    async def children() -> list[NodeSnapshot]:
        return [node async for node in state.children(path)]

    nodes = run(children(), may_suspend=state.may_suspend)
    return [(node.path.rsplit("/", 1)[-1], _document(node.user_data, node.path)) for node in nodes]


def _clean(path: str) -> str:
    return "/" + path.strip("/")


def _document(data: bytes, path: str) -> dict[str, Any]:
    try:
        document = json.loads(data)
    except ValueError as error:
        raise Corrupt(f"its metadata are not JSON: {error}", object_name=path) from error
    if not isinstance(document, dict):
        raise Corrupt("its metadata are not a JSON object", object_name=path)
    return document
