"""Spans for OpenTelemetry: who asks for traces sees what the library does, nobody else pays for it.

A program that wants traces imports OpenTelemetry and sets a tracer provider; as long as there is
none, a span costs two look-ups in dictionaries. This module never imports OpenTelemetry by itself.

Spans say what was done, for how long and how it ended. They hold ids of snapshots, counts, sizes
and kinds of errors; never keys, names, paths, messages, values or secrets. The current span travels
by `contextvars`: into tasks, into the library's own threads and its background loop, and into
threads of executors that are passed to maintenance. Other processes do not know of it.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar

from icechunk_core.errors import AlreadyExists, IcechunkError, NotFound, VersionMismatch

__all__ = ["API", "annotate", "finish", "kind_of", "possible", "span", "start", "traced"]

P = ParamSpec("P")
T = TypeVar("T")

_ANSWERS = (NotFound, AlreadyExists, VersionMismatch)

SCOPE = "icechunk_core"
"""Name of the instrumentation scope: what a tracer provider's views and samplers go by."""

API = "opentelemetry.trace"
"""Who imported this module may be tracing."""


def kind_of(error: BaseException) -> str:
    """How an operation ended that raised: the error's stable kind, or the name of its class."""
    return error.kind if isinstance(error, IcechunkError) else type(error).__name__


_known: tuple[Any, Any] = (None, None)
"""The provider asked last, and its tracer."""


def possible() -> bool:
    """Whether anybody could be tracing: OpenTelemetry was imported."""
    return API in sys.modules


def _tracer() -> Any:
    """A tracer, if this process makes traces."""
    global _known
    api = sys.modules.get(API)
    if api is None:
        return None
    provider = api.get_tracer_provider()
    known = _known
    if known[0] is not provider:
        silent = isinstance(provider, (api.ProxyTracerProvider, api.NoOpTracerProvider))
        known = _known = (provider, None if silent else provider.get_tracer(SCOPE))
    return known[1]


def _named(attributes: dict[str, Any]) -> dict[str, Any]:
    return {f"icechunk.{name}": value for name, value in attributes.items() if value is not None}


def start(name: str, **attributes: Any) -> Any:
    """Begin a span below the current one, without making it current; ``None`` where nobody traces."""
    tracer = _tracer()
    return None if tracer is None else tracer.start_span(name, attributes=_named(attributes))


def finish(begun: Any, error: BaseException | None = None, **attributes: Any) -> None:
    """End what `start` began; that something is not there, or a lost race, is not marked as an error."""
    begun.set_attributes(_named(attributes))
    if error is not None and not isinstance(error, _ANSWERS):
        _tell(begun, error)
    begun.end()


def _tell(current: Any, error: BaseException) -> None:
    # Not the message and the traceback: they may show keys and paths.
    current.set_attribute("error.type", kind_of(error))
    api = sys.modules[API]
    current.set_status(api.Status(api.StatusCode.ERROR, kind_of(error)))


@contextmanager
def span(name: str, **attributes: Any) -> Iterator[None]:
    """A span around a block; what begins inside of it is below it."""
    tracer = _tracer()
    if tracer is None:
        yield
        return
    with tracer.start_as_current_span(
        name, attributes=_named(attributes), record_exception=False, set_status_on_exception=False
    ) as current:
        try:
            yield
        except BaseException as error:
            _tell(current, error)
            raise


def annotate(**attributes: Any) -> None:
    """Add attributes to the current span, if it is one of a program that traces."""
    if _tracer() is not None:
        sys.modules[API].get_current_span().set_attributes(_named(attributes))


def traced(
    name: str, **attributes: Any
) -> Callable[[Callable[P, Coroutine[Any, Any, T]]], Callable[P, Coroutine[Any, Any, T]]]:
    """Give a coroutine function a span for each of its calls."""

    def decorate(function: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Coroutine[Any, Any, T]]:
        @functools.wraps(function)
        async def call(*args: P.args, **kwargs: P.kwargs) -> T:
            if not possible():
                return await function(*args, **kwargs)
            with span(name, **attributes):
                return await function(*args, **kwargs)

        return call

    return decorate
