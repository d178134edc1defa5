"""Fixtures for tests of plugins."""

from tests.plugins.support import fresh_registry, installed

__all__ = ["fresh_registry", "installed"]
