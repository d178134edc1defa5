"""A directory as object storage, safe between processes. See `plugin`."""
