"""Tests of HTTP storage, on real servers of this machine."""
