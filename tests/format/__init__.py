"""Tests of the format layer: bytes to values and back."""
