"""Conformance suite for storage backends."""
