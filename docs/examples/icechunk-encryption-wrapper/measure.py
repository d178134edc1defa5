"""What encryption costs: CPU time per operation with and without it, on memory. ``python measure.py``"""

from __future__ import annotations

import statistics
import time

from icechunk_encryption._keys import new_key

from icechunk_core.contract import Range, Storage
from icechunk_core.drive import run_direct
from icechunk_core.storage import storage_from_url

TURNS = 9


def seconds(operation: object, repeat: int) -> float:
    """CPU seconds of one call."""
    start = time.process_time()
    for _ in range(repeat):
        operation()  # type: ignore[operator]
    return (time.process_time() - start) / repeat


def operations(storage: Storage) -> dict[str, tuple[object, int]]:
    """What is measured, and how often it is repeated."""
    small, large = bytes(range(256)) * 16, bytes(range(256)) * (4 << 12)
    run_direct(storage.put("small", small))
    run_direct(storage.put("large", large))
    part = Range(2_000_000, 2_004_096)
    return {
        "put 4 KiB": (lambda: run_direct(storage.put("small", small)), 500),
        "get 4 KiB": (lambda: run_direct(storage.get_range("small")), 500),
        "get 4 KiB of 4 MiB": (lambda: run_direct(storage.get_range("large", part)), 500),
        "put 4 MiB": (lambda: run_direct(storage.put("large", large)), 10),
        "get 4 MiB": (lambda: run_direct(storage.get_range("large")), 10),
    }


def main() -> None:
    """Medians of several turns, one storage after the other in each."""
    plain = operations(storage_from_url("memory:"))
    encrypted = operations(storage_from_url("encrypted+memory:", encrypted={"key": new_key()}))
    print("| CPU time, µs | plain | encrypted | more |\n|---|---|---|---|")
    for name in plain:
        taken = [(seconds(*plain[name]), seconds(*encrypted[name])) for _ in range(TURNS)]
        without, with_it = (statistics.median(each) * 1e6 for each in zip(*taken, strict=True))
        print(f"| {name} | {without:,.1f} | {with_it:,.1f} | {with_it - without:,.1f} |")


if __name__ == "__main__":
    main()
