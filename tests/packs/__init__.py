"""Packs: how chunks get into them, out of them, and from sparse ones into new ones."""
