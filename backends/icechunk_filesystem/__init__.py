"""A directory as object storage, safe between processes.

What it keeps to, and where:

* An object is one file; readers see the old or the new one, never a part (`_temporary`).
* Conditional puts are linearizable between the threads and processes of one machine: they
  run under a lock of the operating system (`_locks`, `_writing`). Creating is also safe
  against programs that do not know the lock, through a hard link where there are links.
* Versions are unique per write (`_versions`).
* What was acknowledged survives power loss unless ``durable=False`` (`_directories`, `_system`).
* Keys map to the file names of Icechunk's own local store (`_paths`) and do not lead out of
  the root; symbolic links below it are not followed (`_directories`).
* What a filesystem cannot do is tried out at open and reported (`_probe`).

Limits:

* Programs that replace files in the same directory without this lock (Icechunk's own local
  store) can overwrite an update; it is noticed by the next conditional put, not prevented.
* Conditional puts from several machines that mount one network filesystem depend on its
  locks, which cannot be tried out from one machine; ``PROCESS`` is all that is declared.
* On filesystems whose times are coarser than a millisecond (FAT, HFS+), an object that was put
  unconditionally, deleted, and put again with the same length in the same tick keeps its version.
* On filesystems that ignore case, keys that differ only in case are one file.
* On Windows, a file that somebody keeps open for longer than a few seconds cannot be replaced.

Bookkeeping (locks, version records, temporary files) is in ``<root>/.icechunk-core``, which
no listing shows. It is made by the first write and may be deleted while nobody writes.
"""
