"""The checks, a module per group."""

from importlib import import_module

__all__ = ["MODULES", "load"]

MODULES = (
    "a_basics",
    "b_ranges",
    "c_keys",
    "d_listing",
    "e_conditional",
    "f_raced",
    "f_raced_between_processes",
    "f_turns",
    "g_ambiguous",
    "h_transport",
    "i_cancellation",
    "j_pickling",
    "k_durability",
    "l_stateful",
    "m_engine",
)


def load() -> None:
    """Import every group, which registers its checks."""
    for name in MODULES:
        import_module(f"{__name__}.{name}")
