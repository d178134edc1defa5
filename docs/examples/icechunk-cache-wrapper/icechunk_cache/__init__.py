"""A disk cache for any storage of icechunk-core: ``cached+s3://bucket/prefix``."""
