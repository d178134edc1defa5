"""Tests of icechunk-core; the directories mirror the package."""
