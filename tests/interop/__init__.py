"""The same repositories in icechunk-core and in Icechunk itself."""
