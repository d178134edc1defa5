"""Decorators of a storage: repeat its calls, bound and count them, slow it down, make it fail on purpose,
stand in for what it lacks, look on."""

from typing import TYPE_CHECKING

from icechunk_core._lazy import lazy

if TYPE_CHECKING:
    from icechunk_core.contract.wrappers._around import Around, around_each
    from icechunk_core.contract.wrappers.concurrency import with_concurrency_limit
    from icechunk_core.contract.wrappers.faults import Call, Fault, FaultLog, with_faults
    from icechunk_core.contract.wrappers.latency import with_latency
    from icechunk_core.contract.wrappers.metrics import StorageMetrics, with_metrics
    from icechunk_core.contract.wrappers.observing import observed
    from icechunk_core.contract.wrappers.retries import RetryPolicy, with_retries
    from icechunk_core.contract.wrappers.single_writer import for_single_writer
else:
    __getattr__, __dir__ = lazy(
        __name__,
        {
            "_around": ("Around", "around_each"),
            "concurrency": ("with_concurrency_limit",),
            "faults": ("Call", "Fault", "FaultLog", "with_faults"),
            "latency": ("with_latency",),
            "metrics": ("StorageMetrics", "with_metrics"),
            "observing": ("observed",),
            "retries": ("RetryPolicy", "with_retries"),
            "single_writer": ("for_single_writer",),
        },
    )

__all__ = [
    "Around",
    "Call",
    "Fault",
    "FaultLog",
    "RetryPolicy",
    "StorageMetrics",
    "around_each",
    "for_single_writer",
    "observed",
    "with_concurrency_limit",
    "with_faults",
    "with_latency",
    "with_metrics",
    "with_retries",
]
