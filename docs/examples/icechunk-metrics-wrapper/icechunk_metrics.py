"""Prometheus metrics of the requests of any storage of icechunk-core: ``metered+s3://bucket/prefix``."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import aclosing
from functools import cache
from typing import Any

from attrs import frozen
from prometheus_client import Counter, Histogram

from icechunk_core.clock import SystemClock
from icechunk_core.contract import Storage, WrapperSpec, hookimpl
from icechunk_core.contract.wrappers import around_each

_BUCKETS = (0.0001, 0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_LABELS = ("storage", "operation")

REQUESTS = Counter("icechunk_storage_requests", "Calls of a storage, by outcome", (*_LABELS, "outcome"))
SECONDS = Histogram("icechunk_storage_request_seconds", "How long they took", _LABELS, buckets=_BUCKETS)
BYTES = Counter("icechunk_storage_bytes", "Bytes of data that were read and written", _LABELS)
LISTED = Counter("icechunk_storage_listed_objects", "Objects in listings", ("storage",))

_log = logging.getLogger("icechunk_metrics")


@frozen
class MetricsConfig:
    """How the requests of this storage are called.

    Attributes
    ----------
    label
        Value of the label ``storage``; the backend's name where it is not given.
    log_slower_than
        Seconds; calls that take longer are logged with their key, as warnings.
    """

    label: str | None = None
    log_slower_than: float | None = None


class _Meter:
    """What is counted for one operation of one storage."""

    def __init__(self, storage: str, operation: str, slow: float | None) -> None:
        self._names, self._slow = (storage, operation), slow
        self._seconds, self.bytes = SECONDS.labels(*self._names), BYTES.labels(*self._names)
        self._outcome = cache(lambda outcome: REQUESTS.labels(*self._names, outcome))

    def count(self, seconds: float, error: BaseException | None, what: object) -> None:
        outcome = "ok" if error is None else type(error).__name__
        self._outcome(outcome).inc()
        self._seconds.observe(seconds)
        if self._slow is not None and seconds > self._slow:
            _log.warning("%s: %s of %r took %.3f s (%s)", *self._names, what, seconds, outcome)


def wrap(storage: Storage, config: MetricsConfig) -> Storage:
    """The storage, counting."""
    now = SystemClock().monotonic
    label = config.label or storage.plugin
    meters = {name: _Meter(label, name, config.log_slower_than) for name in storage.hook_names}
    listed = LISTED.labels(label)

    async def around(
        operation: str, arguments: tuple[Any, ...], perform: Callable[[], Awaitable[Any]]
    ) -> Any:
        meter, start = meters[operation], now()
        try:
            result = await perform()
        except BaseException as error:
            meter.count(now() - start, error, arguments[:1])
            raise
        meter.count(now() - start, None, arguments[:1])
        if operation == "get_range":
            meter.bytes.inc(len(result[0]))
        elif operation == "put":
            meter.bytes.inc(sum(map(len, arguments[1])))
        return result

    async def around_list(
        arguments: tuple[Any, ...], inner: Callable[..., AsyncGenerator[Any, None]]
    ) -> AsyncGenerator[Any, None]:
        meter, waited, error = meters["list"], 0.0, None
        start = now()
        try:
            async with aclosing(inner(*arguments)) as items:
                async for info in items:
                    waited += now() - start
                    listed.inc()
                    yield info
                    start = now()
        except GeneratorExit:
            start = now()  # the caller has seen enough, which is no failure
            raise
        except BaseException as failure:
            error = failure
            raise
        finally:
            meter.count(waited + now() - start, error, arguments[:1])

    return around_each(storage, around, around_list=around_list)


@hookimpl
def icechunk_wrappers() -> Iterable[WrapperSpec]:
    """The wrapper."""
    return [
        WrapperSpec(
            name="metered", config=MetricsConfig, wrap=wrap, install_hint="pip install prometheus-client"
        )
    ]
