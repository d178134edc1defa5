"""What is between a storage and what it stores on."""

from __future__ import annotations

import enum

__all__ = ["Transport"]


class Transport(enum.Enum):
    """How faults of the transport can be injected; the value is the reason why not."""

    PROXIED = ""
    """It talks to a server whose address its configuration holds: through the faulting proxy."""
    NONE = "the storage is in this machine: there is no transport that could fail"
    OUT_OF_REACH = (
        "no faults can be injected: no field of its configuration is its server's URL "
        "(metadata={'endpoint': True}), or it is not set"
    )
