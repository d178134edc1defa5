"""Decorators of a storage: count its calls, slow it down, make it fail on purpose."""

from icechunk_core.contract.wrappers.faults import Call, Fault, FaultLog, with_faults
from icechunk_core.contract.wrappers.latency import with_latency
from icechunk_core.contract.wrappers.metrics import StorageMetrics, with_metrics

__all__ = [
    "Call",
    "Fault",
    "FaultLog",
    "StorageMetrics",
    "with_faults",
    "with_latency",
    "with_metrics",
]
