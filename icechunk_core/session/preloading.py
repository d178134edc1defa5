"""Load the manifests that a session is likely to need first, beside its opening (FORMAT.md, section 8).

Coordinates are read before everything else, by xarray for example, and their manifests are
small. On storages that make callers wait, they are fetched while the caller does something
else; a read that needs one joins its loading. On others they are loaded when they are needed.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

from icechunk_core.drive import gather, in_background
from icechunk_core.errors import IcechunkError
from icechunk_core.format.configuration import ManifestPreloadConfig
from icechunk_core.format.snapshot import ManifestFileInfo, Snapshot
from icechunk_core.session.context import RepositoryContext

__all__ = ["manifests_to_preload", "start_preloading"]

_log = logging.getLogger(__name__)

_AT_ONCE = 8


def manifests_to_preload(snapshot: Snapshot, preload: ManifestPreloadConfig) -> Iterator[ManifestFileInfo]:
    """The manifests that a configuration wants, in the order of the arrays' paths, each once.

    One that does not fit into what is left of ``max_total_refs`` is passed over.
    """
    condition = preload.effective_condition()
    left = preload.effective_max_total_refs()
    to_scan = preload.effective_max_arrays_to_scan()
    seen: set[bytes] = set()
    for node in snapshot.nodes:
        if not to_scan or left <= 0:
            return
        if node.array is None:
            continue
        to_scan -= 1
        for manifest in node.array.manifests:
            info = snapshot.manifest_file(manifest.id)
            if info is None or info.id in seen or info.num_chunk_refs > left:
                continue
            if condition.matches(node.path, info.num_chunk_refs):
                seen.add(info.id)
                left -= info.num_chunk_refs
                yield info


def start_preloading(context: RepositoryContext, snapshot: Snapshot) -> None:
    """Begin to load what the configuration wants of a snapshot, unless the last session on it did.

    What fails is left for the reader who needs it.
    """
    if not context.storage.may_suspend or context.preloaded == snapshot.id:
        return
    context.preloaded = snapshot.id
    wanted = list(manifests_to_preload(snapshot, context.config.effective_preload()))
    if wanted:
        in_background(lambda: _load(context, wanted), may_suspend=True)


async def _load(context: RepositoryContext, wanted: list[ManifestFileInfo]) -> None:
    assets = context.assets
    try:
        await gather(
            [lambda info=info: assets.manifest(info.id, info.size_bytes) for info in wanted],  # type: ignore[misc]
            may_suspend=True,
            limit=_AT_ONCE,
        )
    except IcechunkError as error:
        _log.info("manifests were not preloaded: %s", error)
    else:
        _log.debug("preloaded %d manifests", len(wanted))
