"""Tests of the storage contract."""
