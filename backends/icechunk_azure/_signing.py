"""Shared Key signatures: what the service computes from a request and the account's key.

Source: "Authorize with Shared Key" in the service's REST reference. Only requests as `_lean` sends them
are signed here, which keeps it short: they have no query, and the names of their ``x-ms-`` headers
sort the same by the service's rules as by their bytes.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping

__all__ = ["Signer"]


class Signer:
    """Signs with one account key.

    Parameters
    ----------
    account
        Its name, which begins the resource that is signed.
    key
        base64, as the portal shows it.
    """

    def __init__(self, account: str, key: str) -> None:
        self._account = account
        self._keyed = hmac.new(base64.b64decode(key), digestmod=hashlib.sha256)

    def authorization(self, method: str, path: str, headers: Mapping[str, str], length: int) -> str:
        """The value of the header ``Authorization``.

        Parameters
        ----------
        path
            Of the URL, encoded as it is sent.
        headers
            With names in lower case; all whose name begins with ``x-ms-`` are signed, in the order
            of their names.
        length
            Of the body.
        """
        get = headers.get
        lines = [
            method,
            "",  # Content-Encoding
            "",  # Content-Language
            str(length) if length else "",
            "",  # Content-MD5
            get("content-type", ""),
            "",  # Date: x-ms-date is there
            "",  # If-Modified-Since
            get("if-match", ""),
            get("if-none-match", ""),
            "",  # If-Unmodified-Since
            "",  # Range: x-ms-range is there
        ]
        lines += [f"{name}:{headers[name]}" for name in sorted(headers) if name.startswith("x-ms-")]
        lines.append(f"/{self._account}{path}")
        keyed = self._keyed.copy()
        keyed.update("\n".join(lines).encode())
        return f"SharedKey {self._account}:{base64.b64encode(keyed.digest()).decode()}"
