"""The public interface of stores with version control, as its reference lists it.

One entry per item: its name, how it is used, and its parameters as ``name``, ``name=default``,
``*`` (what follows is by keyword), ``*args`` and ``**kwargs``.
"""

from __future__ import annotations

from attrs import frozen

__all__ = ["REFERENCE", "Item"]


@frozen
class Item:
    """A method, class method or property of a class."""

    owner: str
    name: str
    use: str
    """``property``, ``method``, ``classmethod``; with ``async`` before it, it is awaited; ``iterator``."""
    parameters: str = ""

    def __str__(self) -> str:
        return f"{self.owner}.{self.name}"


STORE = [
    ("branch", "property", ""),
    ("has_uncommitted_changes", "property", ""),
    ("snapshot_id", "property", ""),
    ("supports_listing", "property", ""),
    ("supports_partial_writes", "property", ""),
    ("supports_writes", "property", ""),
    ("__init__", "method", "store, read_only=False, *args, **kwargs"),
    ("ancestry", "method", ""),
    ("as_read_only", "method", ""),
    ("as_writeable", "method", ""),
    ("async_ancestry", "iterator", ""),
    ("async_checkout", "async method", "snapshot_id=None, branch=None, tag=None"),
    ("async_commit", "async method", "message"),
    ("async_merge", "async method", "changes"),
    ("async_new_branch", "async method", "branch_name"),
    ("async_reset", "async method", ""),
    ("async_reset_branch", "async method", "to_snapshot"),
    ("async_set_virtual_ref", "async method", "key, location, *, offset, length"),
    ("async_tag", "async method", "tag_name, snapshot_id"),
    ("change_set_bytes", "method", ""),
    ("checkout", "method", "snapshot_id=None, branch=None, tag=None"),
    ("clear", "async method", ""),
    ("commit", "method", "message"),
    ("create", "classmethod", "storage, read_only=False, config=None, *args, **kwargs"),
    ("delete", "async method", "key"),
    ("distributed_commit", "method", "message, other_change_set_bytes"),
    ("exists", "async method", "key"),
    ("get", "async method", "key, prototype, byte_range=None"),
    ("get_partial_values", "async method", "prototype, key_ranges"),
    ("is_empty", "async method", "prefix"),
    ("list", "iterator", ""),
    ("list_dir", "iterator", "prefix"),
    ("list_prefix", "iterator", "prefix"),
    ("merge", "method", "changes"),
    ("new_branch", "method", "branch_name"),
    ("open", "async classmethod", "*args, **kwargs"),
    ("open_existing", "classmethod", "storage, read_only=False, config=None, *args, **kwargs"),
    ("open_or_create", "classmethod", "*, storage, read_only=False, config=None, **kwargs"),
    ("preserve_read_only", "method", ""),
    ("reset", "method", ""),
    ("reset_branch", "method", "to_snapshot"),
    ("set", "async method", "key, value"),
    ("set_if_not_exists", "async method", "key, value"),
    ("set_partial_values", "async method", "key_start_values"),
    ("set_read_only", "method", ""),
    ("set_virtual_ref", "method", "key, location, *, offset, length"),
    ("set_writeable", "method", ""),
    ("sync_clear", "method", ""),
    ("tag", "method", "tag_name, snapshot_id"),
]

STORAGE = [
    ("filesystem", "classmethod", "root"),
    ("memory", "classmethod", "prefix"),
    ("s3_anonymous", "classmethod", "bucket, prefix, endpoint_url=None, allow_http=False, region=None"),
    (
        "s3_from_config",
        "classmethod",
        "bucket, prefix, credentials, endpoint_url=None, allow_http=False, region=None",
    ),
    ("s3_from_env", "classmethod", "bucket, prefix, endpoint_url=None, allow_http=False, region=None"),
]

CONFIG = [
    (
        "__init__",
        "method",
        "get_partial_values_concurrency=None, inline_chunk_threshold_bytes=None, "
        "unsafe_overwrite_refs=None, virtual_ref_config=None",
    ),
]

VIRTUAL = [
    ("s3_anonymous", "classmethod", "*, endpoint_url=None, allow_http=None, region=None"),
    ("s3_from_config", "classmethod", "credentials, *, endpoint_url=None, allow_http=None, region=None"),
    ("s3_from_env", "classmethod", ""),
]

CLASSES = {
    "IcechunkStore": STORE,
    "StorageConfig": STORAGE,
    "StoreConfig": CONFIG,
    "VirtualRefConfig": VIRTUAL,
}

REFERENCE = [Item(owner, *entry) for owner, entries in CLASSES.items() for entry in entries]
