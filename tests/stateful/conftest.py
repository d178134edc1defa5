"""How the programs' chunks are laid out."""

from tests.layouts import layout

__all__ = ["layout"]
