"""Requests over the session of Google's client: blocking, for worker threads."""

from __future__ import annotations

from typing import Any

import requests
from requests.adapters import HTTPAdapter

from icechunk_core.contract import joined
from icechunk_gcs._replies import Reply
from icechunk_gcs._requests import Request
from icechunk_gcs._settings import Settings
from icechunk_gcs._tokens import Tokens

__all__ = ["SignedSession"]


class SignedSession(requests.Session):
    """A session that authenticates, adds the configured headers and limits every wait.

    Google's client sends its own requests through it, too.
    """

    def __init__(self, settings: Settings, tokens: Tokens) -> None:
        super().__init__()
        self._settings = settings
        self._tokens = tokens
        # Otherwise a netrc file would replace the credentials.
        self.auth = _unchanged
        adapter = HTTPAdapter(pool_connections=2, pool_maxsize=settings.config.concurrency, max_retries=0)
        self.mount("https://", adapter)
        self.mount("http://", adapter)

    def request(  # type: ignore[override]  # both callers name all other arguments
        self, method: str, url: str, **options: Any
    ) -> requests.Response:
        """Send a request; once more with fresh credentials if the server refuses them."""
        config = self._settings.config
        reads = method in ("GET", "HEAD")
        extra = self._settings.read_headers if reads else self._settings.write_headers
        if config.user_project:
            extra = {**extra, "x-goog-user-project": config.user_project}
        given = options.pop("headers", None) or {}
        options["timeout"] = (config.connect_timeout, config.read_timeout)
        signed = self._tokens.headers()
        response = super().request(method, url, headers={**extra, **given, **signed}, **options)
        if response.status_code == 401 and self._tokens.refused(signed):
            response.close()
            signed = self._tokens.headers()
            response = super().request(method, url, headers={**extra, **given, **signed}, **options)
        return response

    def send_plain(self, request: Request) -> Reply:
        """Carry out one request; the body as it was stored."""
        with self.request(
            request.method,
            self._settings.endpoint + request.url,
            data=joined(request.body) if request.body else None,
            headers=dict(request.headers),
            stream=True,
        ) as response:
            body = response.raw.read(decode_content=False)
            return Reply(response.status_code, response.headers, body)


def _unchanged(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request
