"""Tests of plugin discovery and opening."""
