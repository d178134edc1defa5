"""Icechunk repositories on any fsspec filesystem: a backend for icechunk-core that knows its limits.

fsspec has no compare-and-swap and no common notion of an object's version. So this backend declares
neither conditional puts nor unique versions: one writer at a time.
"""

import asyncio
import contextlib
import errno
import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import fsspec
from attrs import field, frozen

from icechunk_core.clock import SystemClock, datetime_from_us
from icechunk_core.contract import (
    Always,
    BackendSpec,
    Capabilities,
    DeleteResult,
    KeySpace,
    ObjectInfo,
    Version,
    errors,
    hookimpl,
    joined,
    resolve_range,
)
from icechunk_core.contract.keys import check_key
from icechunk_core.ids import SystemIds

CAPABILITIES = Capabilities(
    unique_versions=False,
    key_space=KeySpace.TREE,  # most filesystems have directories
)
THREADS = 16

# Object stores let an object appear whole. Elsewhere a reader would see a file that is being written, and
# a cancelled or killed writer would leave half of one: there, files are written aside and renamed.
WHOLE_WRITES = frozenset(
    {"memory", "s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "oss", "oci", "hf"}
)
ASIDE = ".being-written-"


def parse_options(value):
    return json.loads(value) if isinstance(value, str) else dict(value)


@frozen
class FsspecConfig:
    """What a storage pickles to: ``memory``, ``root/of/it``, and options of that filesystem."""

    protocol: str
    root: str
    options: dict = field(factory=dict, converter=parse_options, repr=False)


class FsspecStorage:
    def __init__(self, config):
        self.filesystem = fsspec.filesystem(config.protocol, **config.options)
        self.renames = config.protocol not in WHOLE_WRITES
        self.root = config.root.strip("/") if config.protocol != "file" else config.root.rstrip("/")
        self.threads = ThreadPoolExecutor(THREADS, "icechunk-fsspec")
        self.closed = False

    def path(self, key):
        if "\\" in check_key(key) or any(ord(letter) < 32 for letter in key):
            raise errors.InvalidKey(f"not every filesystem can hold the key {key!r}", key=key)
        if ASIDE in key:
            raise errors.InvalidKey(f"{ASIDE!r} marks files that are being written: {key!r}", key=key)
        return f"{self.root}/{key}"

    def check_open(self):
        if self.closed:
            raise errors.Closed("the fsspec storage was closed; open it again")

    async def call(self, function, *arguments):
        """Run blocking code in a thread, and speak of its errors as the contract does."""
        self.check_open()
        work = asyncio.get_running_loop().run_in_executor(self.threads, function, *arguments)
        return await work

    def info(self, key):
        path = self.path(key)
        try:
            return self.object_info(key, self.filesystem.info(path))
        except (FileNotFoundError, NotADirectoryError) as error:
            raise errors.NotFound(f"no object {key!r}", key=key) from error
        except OSError as error:
            raise failure(error, key) from error

    def object_info(self, key, found):
        if found["type"] != "file":
            raise errors.NotFound(f"no object {key!r}", key=key)
        etag = found.get("ETag") or found.get("etag")
        modified = modification_time(found)
        # Size and time say little, but all that many filesystems know.
        known = [found["size"], etag, found.get("ino"), modified and modified.isoformat()]
        token = hashlib.blake2b(json.dumps(known).encode(), digest_size=16).hexdigest()
        when = modified or datetime_from_us(SystemClock().now_us())
        return ObjectInfo(key, found["size"], Version(token), when, etag=etag and etag.strip('"'))

    @hookimpl
    async def head(self, key):
        self.path(key)
        return await self.call(self.info, key)

    @hookimpl
    async def get_range(self, key, byte_range, if_version):
        self.path(key)
        return await self.call(self.read, key, byte_range, if_version)

    def read(self, key, byte_range, if_version):
        for _ in range(3):
            info = self.info(key)
            if if_version not in (None, info.version):
                raise errors.VersionMismatch(f"object {key!r} has another version", key=key)
            start, end = resolve_range(byte_range, info.size, key=key)
            try:
                data = self.filesystem.cat_file(self.path(key), start, end)
            except FileNotFoundError as error:
                raise errors.NotFound(f"no object {key!r}", key=key) from error
            except OSError as error:
                raise failure(error, key) from error
            # Written meanwhile? Then the bytes may be of two versions.
            if len(data) == end - start and self.info(key).version == info.version:
                return data, info
        raise errors.Unavailable(f"object {key!r} changes all the time; try again", key=key)

    @hookimpl
    async def put(self, key, data, condition, metadata):
        self.path(key)
        self.check_open()
        if not isinstance(condition, Always):
            raise errors.Unsupported("fsspec has no conditional writes", key=key)
        if metadata:
            raise errors.Unsupported("fsspec keeps no user metadata", key=key)
        return await self.call(self.write, key, joined(data))

    def write(self, key, data):
        path = self.path(key)
        try:
            self.filesystem.makedirs(path.rpartition("/")[0], exist_ok=True)
            if self.filesystem.isdir(path):
                self.filesystem.rmdir(path)  # left behind by deleted objects; fails if it holds some
            if self.renames:
                self.write_aside(path, data)
            else:
                self.filesystem.pipe_file(path, data)
        except (IsADirectoryError, NotADirectoryError, FileExistsError) as error:
            raise errors.InvalidKey(f"{key!r} is below an object, or has some below it", key=key) from error
        except OSError as error:
            raise failure(error, key) from error
        return self.info(key).version

    def write_aside(self, path, data):
        aside = path + ASIDE + SystemIds().write_id()
        try:
            self.filesystem.pipe_file(aside, data)
            self.filesystem.mv(aside, path)
        except BaseException:
            with contextlib.suppress(OSError):
                self.filesystem.rm_file(aside)
            raise

    @hookimpl
    async def list(self, prefix, start_after):
        found = await self.call(self.find, prefix)
        for key in sorted(found, key=lambda key: key.encode()):
            if key > (start_after or ""):
                yield found[key]

    def find(self, prefix):
        folder = f"{self.root}/{prefix}".rpartition("/")[0]
        self.filesystem.invalidate_cache()
        try:
            entries = self.filesystem.find(folder, detail=True)
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except OSError as error:
            raise failure(error, prefix) from error
        found = {}
        for path, entry in entries.items():
            key = path.strip("/").removeprefix(self.root.strip("/")).lstrip("/")
            if key.startswith(prefix) and entry["type"] == "file" and ASIDE not in key:
                found[key] = self.object_info(key, entry)
        return found

    @hookimpl
    async def delete(self, keys):
        return await self.call(lambda: [self.remove(key) for key in keys])

    def remove(self, key):
        try:
            self.filesystem.rm_file(self.path(key))
        except (FileNotFoundError, NotADirectoryError):
            pass
        except errors.InvalidKey as error:
            return DeleteResult(key, error)
        except OSError as error:
            failed = failure(error, key)
            if isinstance(failed, errors.InvalidKey) or self.filesystem.isfile(self.path(key)):
                return DeleteResult(key, failed)
        return DeleteResult(key)

    @hookimpl
    async def close(self):
        self.closed = True
        self.threads.shutdown(wait=False)


def modification_time(found):
    for name in ("LastModified", "last_modified", "mtime", "updated", "modified", "created"):
        value = found.get(name)
        if isinstance(value, (int, float)):
            return datetime.fromtimestamp(value, UTC)
        if isinstance(value, datetime):
            return value if value.tzinfo else value.replace(tzinfo=UTC)
    return None


def failure(error, key):
    if error.errno in (errno.ENOTEMPTY, errno.ENAMETOOLONG):
        return errors.InvalidKey(f"{key!r} is too long, or has objects below it", key=key)
    if isinstance(error, PermissionError):
        return errors.PermissionDenied(f"{key!r}: not permitted; check the credentials", key=key)
    return errors.Unavailable(f"{key!r}: {type(error).__name__}; the cause has the details", key=key)


def options_from_url(url):
    """``fsspec:memory:/some/root`` or ``fsspec:file:///data``."""
    protocol, _, rest = (url.netloc + url.path).lstrip("/").partition(":")
    return {"protocol": protocol, "root": rest.removeprefix("//")}


@hookimpl
def icechunk_backends():
    return [
        BackendSpec(
            name="fsspec",
            schemes=["fsspec"],
            config=FsspecConfig,
            capabilities=CAPABILITIES,
            factory=FsspecStorage,
            options_from_url=options_from_url,
            install_hint="pip install fsspec",
        )
    ]
