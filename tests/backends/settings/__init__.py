"""What `StorageSettings` do to the requests of every backend for services."""
