"""For tests of programs that use repositories."""

from __future__ import annotations

from icechunk_core.contract.wrappers import with_latency
from icechunk_core.errors import InvalidInputError
from icechunk_core.storage import Storage

__all__ = ["LatencyStorage"]

_WRITES = frozenset({"put", "delete", "copy", "sync"})


class LatencyStorage(Storage):
    """A storage whose calls wait first, for races that a fast storage never shows.

    It does not pickle. More wrappers, for failures and counting too, are in
    `icechunk_core.contract.wrappers`.

    Parameters
    ----------
    inner
        What to slow down.
    write_latency_ms, read_latency_ms
        Milliseconds before each call that writes, and that reads. They can be changed at any time.

    >>> import icechunk_core
    >>> storage = LatencyStorage(icechunk_core.in_memory_storage(), write_latency_ms=1)
    >>> repo = icechunk_core.Repository.create(storage)
    >>> storage.write_latency_ms = 0
    """

    def __init__(self, inner: Storage, *, write_latency_ms: int = 0, read_latency_ms: int = 0) -> None:
        self.write_latency_ms = write_latency_ms
        self.read_latency_ms = read_latency_ms
        slowed = with_latency(inner, self._seconds)
        super().__init__(
            plugin=slowed.plugin,
            hooks={name: slowed.hook(name) for name in slowed.hook_names},
            capabilities=slowed.capabilities,
            config=slowed.config,
        )

    @property
    def write_latency_ms(self) -> int:
        """Milliseconds before each call that writes."""
        return self._write_latency_ms

    @write_latency_ms.setter
    def write_latency_ms(self, milliseconds: int) -> None:
        self._write_latency_ms = _checked(milliseconds)

    @property
    def read_latency_ms(self) -> int:
        """Milliseconds before each call that reads."""
        return self._read_latency_ms

    @read_latency_ms.setter
    def read_latency_ms(self, milliseconds: int) -> None:
        self._read_latency_ms = _checked(milliseconds)

    def _seconds(self, operation: str) -> float:
        return (self._write_latency_ms if operation in _WRITES else self._read_latency_ms) / 1000


def _checked(milliseconds: int) -> int:
    if milliseconds < 0:
        raise InvalidInputError(f"a latency is not negative: {milliseconds}")
    return milliseconds
