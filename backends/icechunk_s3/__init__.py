"""Amazon S3 and services that speak its protocol.

The SDK (aiobotocore) is imported when a storage is opened, not before:

* ``plugin`` declares the backends, ``_config`` what can be set, ``_quirks`` how servers differ,
* ``_storage`` has the operations, with ``_reading``, ``_writing``, ``_multipart``, ``_listing``
  and ``_deleting`` for the larger ones,
* ``_client`` is what they need of a server, ``_sdk`` answers it through the SDK and ``_lean``
  the frequent part of it without,
* ``_errors`` is the only place that names the SDK's exceptions, ``_retry`` decides what is
  repeated, ``_credentials`` renews what expires, ``_loops`` keeps one client per event loop.
"""
