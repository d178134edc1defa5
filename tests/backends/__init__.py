"""Tests of the first-party backends."""
