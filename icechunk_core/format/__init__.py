"""Icechunk's on-disk format: bytes to values and back, without I/O.

* `base32`, `layout`, `refs_v1`: ids, object keys, spec 1 refs.
* `envelope`: the header and compression around every metadata file.
* `snapshot`, `manifest`, `transaction_log`, `repo_info`: the four kinds of metadata files.
* `configuration`, `config_codec`: repository settings and their stored forms.
* `flexbuffers`, `messagepack`: metadata values. `zarr_metadata`: what is read from ``zarr.json``.

Values are immutable (configurations excepted); what is large is kept in columns or decoded where it is looked
at. Bytes are untrusted: whatever is malformed raises `icechunk_core.errors.Corrupt` with the object's name.
"""
