"""A container of Azure Blob Storage as object storage.

What it keeps to, and where:

* Conditional puts are the service's own: ``If-None-Match: *`` creates, ``If-Match`` with the ETag of
  the version replaces, also where a large object is committed as a list of blocks (`_writing`).
* Versions are ETags. The service gives every write a new one, also for the same bytes.
* A read that takes several requests insists on one ETag (`_reading`).
* Listings are in the order of the keys' UTF-8 bytes, which is not the service's where names have
  characters beyond U+FFFF (`_listing`).
* Failures are named in one table (`_errors`), repeated with full jitter up to a deadline, and only
  where a repetition cannot do harm (`_retry`).
* Each event loop has its own connections; they close with the loop (`_connections`).

Two ways lead to the service. `_sdk` is ``azure-storage-blob``. `_lean` sends plain reads, heads and
small puts itself, signed the same way, for a fraction of the processor time; ``lean=false`` switches
it off.

Limits:

* Accounts with a hierarchical namespace list folders as objects and order by folder; open them with
  ``hierarchical=true``, which leaves folders out and declares what such accounts can do.
* Names that the service would change (a segment that ends in a dot, a backslash) or cannot list
  (control characters) are refused.
"""
