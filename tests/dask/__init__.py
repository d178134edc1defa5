"""Many workers: writing, reading and maintenance on executors and on Dask's scheduler."""
