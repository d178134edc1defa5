"""Transactional, versioned Zarr storage in which the storage is a plugin."""
