"""How much is measured: all of it, a first impression, and so little that only the code is tried."""

from __future__ import annotations

from attrs import frozen

__all__ = ["FULL", "QUICK", "TINY", "Sizes"]


@frozen
class Sizes:
    """The amounts of work of all groups.

    Attributes
    ----------
    rounds
        How often everything is measured.
    chunks, gets
        Chunks of 4 KiB of the array, and keys that are got one by one.
    committers
        Numbers of processes, and of commits of each.
    refs, keys, history
        Virtual refs of the large manifest, keys of the listing, lengths of the history.
    small, large
        Chunks of 4 KiB and of 4 MiB on the object store.
    server
        Which object store.
    gigabytes
        What is written while memory is watched.
    judged
        Whether goals are shown: they are about the full amounts.
    """

    rounds: int
    chunks: int
    gets: int
    committers: tuple[tuple[int, int], ...]
    refs: int
    keys: int
    history: tuple[int, ...]
    small: int
    large: int
    server: str
    gigabytes: float
    judged: bool = False


FULL = Sizes(
    rounds=3,
    chunks=10_000,
    gets=2_000,
    committers=((8, 10), (100, 1)),
    refs=1_000_000,
    keys=10_000,
    history=(100, 1_000, 4_000, 8_000),
    small=10_000,
    large=200,
    server="seaweedfs",
    gigabytes=10,
    judged=True,
)
QUICK = Sizes(
    rounds=1,
    chunks=1_024,
    gets=300,
    committers=((8, 3), (20, 1)),
    refs=20_000,
    keys=10_000,
    history=(100, 1_000),
    small=1_000,
    large=20,
    server="seaweedfs",
    gigabytes=0.5,
)
TINY = Sizes(
    rounds=1,
    chunks=16,
    gets=4,
    committers=((2, 1),),
    refs=100,
    keys=100,
    history=(12,),
    small=16,
    large=2,
    server="ministack",
    gigabytes=0.01,
)
