"""Tests of S3 storage: on real servers, and against scripted answers that no server gives at will."""
