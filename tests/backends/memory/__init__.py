"""Tests of memory storage."""
