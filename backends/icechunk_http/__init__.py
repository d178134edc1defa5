"""Repositories on web servers and CDNs, for reading; and redirects that tell where a repository is."""
