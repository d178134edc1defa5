"""The public names, against those of Icechunk 2.3.0."""
