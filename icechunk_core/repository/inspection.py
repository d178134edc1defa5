"""A look into the metadata files of a repository."""

from __future__ import annotations

from typing import Any

from icechunk_core.drive import blocking
from icechunk_core.format import base32, layout
from icechunk_core.format.envelope import FileType, read_header, unseal
from icechunk_core.format.manifest import decode_manifest
from icechunk_core.format.snapshot import decode_snapshot
from icechunk_core.format.transaction_log import TransactionLog, decode_transaction_log, merge_logs
from icechunk_core.repository import descriptions
from icechunk_core.repository.arguments import snapshot_id_bytes
from icechunk_core.repository.part import RepositoryPart

__all__ = ["InspectionPart"]

_COMPOSITE_NOTE = (
    "Synthetic composite: expiration removed ancestors of this snapshot. What follows merges their logs "
    "with its own; `header` is that of its own log."
)


class InspectionPart(RepositoryPart):
    """Shows what metadata files say, for debugging. The dictionaries hold only JSON values.

    A missing file is a `StorageError` (``object-not-found``). The ``header`` in each dictionary tells
    who wrote that file, in which version of the format.
    """

    async def inspect_snapshot_async(self, snapshot_id: str) -> dict[str, Any]:
        """All nodes of a snapshot, and the manifests that it uses.

        Returns
        -------
        dict
            ``id``, ``header``, ``flushed_at``, ``commit_message``, ``metadata``, ``manifests``, ``nodes``.
        """
        key = layout.snapshot_key(snapshot_id_bytes(snapshot_id))
        data = await self._object(key)
        header, _ = unseal(data, FileType.SNAPSHOT, name=key)
        return descriptions.describe_snapshot(header, decode_snapshot(data, name=key))

    inspect_snapshot = blocking(inspect_snapshot_async)

    async def inspect_repo_info_async(self) -> dict[str, Any]:
        """Refs, history, metadata and the newest entries of the operations log. Needs spec 2.

        Returns
        -------
        dict
            ``header``, ``spec_version``, ``branches``, ``tags``, ``deleted_tags``, ``snapshots``,
            ``metadata``, ``latest_updates``, and ``repo_before_updates`` where older entries are elsewhere.
        """
        data, info = await self._context.history.root()
        return descriptions.describe_repo_info(
            read_header(data, FileType.REPO_INFO, name=layout.REPO_KEY), info
        )

    inspect_repo_info = blocking(inspect_repo_info_async)

    async def inspect_manifest_async(self, manifest_id: str) -> dict[str, Any]:
        """How many chunks a manifest lists, by array and kind.

        Parameters
        ----------
        manifest_id
            Found in ``manifest_refs`` of `inspect_snapshot`, and by `list_manifest_files`.

        Returns
        -------
        dict
            ``id``, ``header``, ``size_bytes`` (uncompressed), ``num_arrays``, ``total_chunk_refs``,
            ``total_inline``, ``total_native``, ``total_virtual``, ``arrays``, ``compression``.
        """
        key = layout.manifest_key(snapshot_id_bytes(manifest_id))
        data = await self._object(key)
        header, payload = unseal(data, FileType.MANIFEST, name=key)
        return descriptions.describe_manifest(header, decode_manifest(data, name=key), len(payload))

    inspect_manifest = blocking(inspect_manifest_async)

    async def inspect_transaction_log_async(self, snapshot_id: str) -> dict[str, Any]:
        """What one commit did, by node id.

        Returns
        -------
        dict
            ``header``, ``new_groups``, ``new_arrays``, ``deleted_groups``, ``deleted_arrays``,
            ``updated_groups``, ``updated_arrays``, ``updated_chunks``, ``moved_nodes``. Where expiration
            removed ancestors of the snapshot, their logs are merged in, and ``synthetic_composite`` tells
            which (``note``, ``merged_pruned_ancestor_tx_logs`` oldest first, ``missing_tx_logs``).
        """
        wanted = snapshot_id_bytes(snapshot_id)
        key = layout.transaction_key(wanted)
        data = await self._object(key)
        header, _ = unseal(data, FileType.TRANSACTION_LOG, name=key)
        own = decode_transaction_log(data, name=key)
        pruned = await self._pruned_logs(wanted)
        if not pruned:
            return descriptions.describe_transaction_log(header, own)
        merged: list[str] = []
        missing: list[str] = []
        log: TransactionLog | None = None
        for log_id in pruned:
            found = await self._context.assets.transaction_log(log_id)
            (missing if found is None else merged).append(base32.encode(log_id))
            if found is not None:
                log = found if log is None else merge_logs(log, found, wanted)
        result = descriptions.describe_transaction_log(
            header, own if log is None else merge_logs(log, own, wanted)
        )
        result["synthetic_composite"] = {
            "note": _COMPOSITE_NOTE,
            "merged_pruned_ancestor_tx_logs": merged,
            "missing_tx_logs": missing,
        }
        return result

    inspect_transaction_log = blocking(inspect_transaction_log_async)

    async def _pruned_logs(self, snapshot_id: bytes) -> tuple[bytes, ...]:
        if self._context.spec_version < 2:
            return ()
        entry = (await self._context.history.info()).snapshots.get(snapshot_id)
        return () if entry is None else entry.pruned_ancestor_tx_logs

    async def _object(self, key: str) -> bytes:
        data, _ = await self._context.storage.get_range_hook(key, None, None)
        return bytes(data)
