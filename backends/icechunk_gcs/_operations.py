"""What Google's client does: copies and resumable uploads. Blocking, for worker threads."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

from google.auth import credentials
from google.cloud import storage

from icechunk_core.contract import Version
from icechunk_gcs._session import SignedSession
from icechunk_gcs._settings import Settings

__all__ = ["Operations"]

_CHUNK = 32 << 20
"""Bytes of one request of a resumable upload; a multiple of 256 KiB."""


class Operations:
    """The rare operations, each one attempt: repetition is decided above."""

    def __init__(self, settings: Settings, session: SignedSession) -> None:
        self._settings = settings
        anonymous: Any = credentials.AnonymousCredentials
        # The session authenticates, for this client's requests as for the others.
        self._client = storage.Client(
            project=None,
            credentials=anonymous(),
            client_options={"api_endpoint": settings.endpoint},
            _http=session,
        )
        # It would look up the bucket in a thread of its own, for traces that nobody asked for.
        self._client._bucket_metadata_cache = None
        self._bucket = self._client.bucket(settings.config.bucket)

    def copy(self, source: str, target: str) -> Version:
        """Copy one object, in several steps if it is large."""
        made = self._bucket.blob(target, kms_key_name=self._settings.config.kms_key_name)
        token: str | None = None
        while True:
            token, _, _ = made.rewrite(self._bucket.blob(source), token=token, retry=None)
            if token is None:
                return Version(str(made.generation))

    def upload(
        self,
        name: str,
        data: bytes,
        generation: int | None,
        metadata: Mapping[str, str] | None,
        content_type: str | None,
        storage_class: str | None,
    ) -> Version:
        """Write one large object in a resumable upload."""
        blob = self._bucket.blob(name, chunk_size=_CHUNK, kms_key_name=self._settings.config.kms_key_name)
        if metadata:
            blob.metadata = dict(metadata)
        if storage_class:
            blob.storage_class = storage_class
        blob.upload_from_file(
            io.BytesIO(data),
            size=len(data),
            content_type=content_type or "application/octet-stream",
            predefined_acl=self._settings.acl,
            if_generation_match=generation,
            retry=None,
            checksum="crc32c",
        )
        return Version(str(blob.generation))
