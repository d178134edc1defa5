"""Client-side encryption of any storage of icechunk-core: ``encrypted+s3://bucket/prefix``."""
