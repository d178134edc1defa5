"""Tests of the Azure backend."""
