"""Which checks prove what each hook of the storage contract promises."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from icechunk_conformance.registry import all_checks

__all__ = ["CHECKS_OF_HOOKS", "checks_of", "hooks_of"]

CHECKS_OF_HOOKS: Mapping[str, str] = {
    "icechunk_backends": "J01 J02 J03 J04 J05 J06 I06 I07 I08 I09 H13",
    "icechunk_wrappers": "J01 J02 J03 J04",
    "icechunk_wrap_storage": "J01 J02 J03 J04",
    "capabilities": "A10 A19 B04 D11 E11 E12 I08",
    "get_range": "A01 A03 A05 A06 B C F08 F09 F12 F13 F14 G05 H I04 I06 I07 I09 L01 L02 L05",
    "put": "A01 A04 A05 A06 A07 A08 A09 A10 A11 A13 A16 A19 C E F G H01 H02 H08 H09 H11 H12 H13 H14 "
    "I01 I02 I03 K L01 L02 L05 M",
    "list": "A13 C01 C02 C03 C04 C05 C07 C12 C13 D I05 L01 L03 M07",
    "head": "A02 A03 A09 A13 A17 B09 C11 F15 G01 G02 G03 G04 L01 L02",
    "delete": "A12 A13 A19 C11 D06 E06 L01 L04 M07",
    "copy": "A18 L01",
    "sync": "K03",
    "take_turn": "F17 F18",
    "close": "A14 A15",
}
"""Ids of checks, and letters of whole groups."""


def checks_of(hook: str) -> Sequence[str]:
    """Ids of the checks for a hook, in order.

    >>> checks_of("close")
    ['A14', 'A15']
    """
    named = CHECKS_OF_HOOKS[hook].split()
    return [check.id for check in all_checks() if check.id in named or check.group in named]


def hooks_of(id: str) -> Sequence[str]:
    """The hooks that a check says something about.

    >>> hooks_of("D01")
    ['list']
    """
    return [hook for hook in CHECKS_OF_HOOKS if id in checks_of(hook)]
