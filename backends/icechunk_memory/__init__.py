"""Storage in the memory of one process: for tests, examples and throw-away work."""
