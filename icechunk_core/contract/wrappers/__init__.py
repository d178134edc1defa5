"""Decorators of a storage: repeat its calls, bound and count them, slow it down, make it fail on purpose."""

from icechunk_core.contract.wrappers.concurrency import with_concurrency_limit
from icechunk_core.contract.wrappers.faults import Call, Fault, FaultLog, with_faults
from icechunk_core.contract.wrappers.latency import with_latency
from icechunk_core.contract.wrappers.metrics import StorageMetrics, with_metrics
from icechunk_core.contract.wrappers.retries import RetryPolicy, with_retries

__all__ = [
    "Call",
    "Fault",
    "FaultLog",
    "RetryPolicy",
    "StorageMetrics",
    "with_concurrency_limit",
    "with_faults",
    "with_latency",
    "with_metrics",
    "with_retries",
]
