"""Icechunk repositories through obstore: object_store's compiled clients as a backend for icechunk-core."""

import asyncio
import json
from datetime import timedelta

import obstore
from attrs import evolve, field, frozen
from obstore import exceptions
from obstore import store as stores

from icechunk_core.contract import (
    AtomicityScope,
    BackendSpec,
    Capabilities,
    DeleteResult,
    From,
    IfAbsent,
    IfVersion,
    ObjectInfo,
    Range,
    Suffix,
    Version,
    errors,
    hookimpl,
    joined,
    resolve_range,
)
from icechunk_core.contract.keys import check_key

CLOUD = Capabilities(
    create=True,
    update=True,
    atomicity=AtomicityScope.GLOBAL,
    metadata=True,
    durable=True,
)
CAPABILITIES = {
    # Versions are ETags, which S3 makes of the content.
    "s3": evolve(CLOUD, unique_versions=False),
    "gs": CLOUD,
    # Blob storage has no suffix ranges, and its servers sort non-ASCII keys in ways of their own.
    "az": evolve(CLOUD, suffix_range=False, ordered_list=False),
}
CLASSES = {"s3": stores.S3Store, "gs": stores.GCSStore, "az": stores.AzureStore}
FAILURES = (exceptions.BaseError, OSError)
RETRIES = {"max_retries": 4, "retry_timeout": timedelta(seconds=30)}
TIMEOUTS = {"timeout": "30s", "connect_timeout": "5s"}
DELETES_AT_ONCE = 32


def parse_settings(value):
    return json.loads(value) if isinstance(value, str) else dict(value)


@frozen
class ObstoreConfig:
    """What a storage pickles to. ``settings`` are obstore's, for example ``{"region": "eu-west-1"}``."""

    kind: str
    bucket: str = ""
    prefix: str = ""
    settings: dict = field(factory=dict, converter=parse_settings, repr=False)
    allow_http: bool = False


class ObstoreStorage:
    def __init__(self, config):
        self.kind, self.closed = config.kind, False
        options = {**TIMEOUTS, "allow_http": config.allow_http}
        self.store = CLASSES[config.kind](
            config.bucket,
            prefix=config.prefix.strip("/") or None,
            config=config.settings,
            client_options=options,
            retry_config=RETRIES,
        )

    @hookimpl
    def capabilities(self):
        return CAPABILITIES[self.kind]

    async def call(self, function, key, *arguments, **options):
        """Call obstore, and speak of its errors as the contract does."""
        if self.closed:
            raise errors.Closed("the obstore storage was closed; open it again", key=key)
        if "\\" in check_key(key):
            raise errors.InvalidKey(f"{key!r}: some servers take a backslash for a slash", key=key)
        try:
            return await function(self.store, key, *arguments, **options)
        except FAILURES as error:
            raise translated(error, key) from error
        except (ValueError, TypeError) as error:
            raise errors.InvalidKey(f"obstore cannot hold the key {key!r}: {error}", key=key) from error

    @hookimpl
    async def get_range(self, key, byte_range, if_version):
        options = range_options(byte_range, key)
        if if_version is not None:
            options["if_match"] = known_version(if_version, key).get("e_tag")
        try:
            result = await self.call(obstore.get_async, key, options=options)
            data = await result.bytes_async()
        except (errors.Unavailable, *FAILURES) as error:
            if byte_range is not None:
                # Servers answer a range past the end in different ways; the size tells.
                resolve_range(byte_range, (await self.head(key)).size, key=key)
            raise translated(error, key) from error
        if byte_range is not None and result.meta["size"] == 0:
            resolve_range(byte_range, 0, key=key)
        return memoryview(data), object_info(key, result.meta, result.attributes)

    @hookimpl
    async def head(self, key):
        result = await self.call(obstore.get_async, key, options={"head": True})
        return object_info(key, result.meta, result.attributes)

    @hookimpl
    async def put(self, key, data, condition, metadata, content_type):
        mode = "overwrite"
        if isinstance(condition, IfAbsent):
            mode = "create"
        elif isinstance(condition, IfVersion):
            mode = known_version(condition.version, key)
        attributes = dict(metadata or {})
        if content_type:
            attributes["Content-Type"] = content_type
        written = await self.call(
            obstore.put_async,
            key,
            joined(data),
            attributes=attributes or None,
            mode=mode,
            # Conditions hold for single requests only.
            use_multipart=None if mode == "overwrite" else False,
        )
        return version_of(written)

    @hookimpl
    async def list(self, prefix, start_after):
        if self.closed:
            raise errors.Closed("the obstore storage was closed; open it again")
        folder = prefix.rpartition("/")[0] or None
        try:
            async for page in obstore.list(self.store, folder, offset=start_after or None, chunk_size=1000):
                for meta in page:
                    if meta["path"].startswith(prefix) and meta["path"] > (start_after or ""):
                        yield object_info(meta["path"], meta, {})
        except FAILURES as error:
            raise translated(error, prefix) from error

    @hookimpl
    async def delete(self, keys):
        places = asyncio.Semaphore(DELETES_AT_ONCE)

        async def one(key):
            async with places:
                try:
                    await self.call(obstore.delete_async, key)
                except errors.NotFound:
                    return DeleteResult(key)
                except errors.Closed:
                    raise
                except errors.StorageError as error:
                    return DeleteResult(key, error)
            return DeleteResult(key)

        return await asyncio.gather(*map(one, keys))

    @hookimpl
    async def close(self):
        self.closed = True


def range_options(byte_range, key):
    if isinstance(byte_range, Suffix):
        resolve_range(byte_range, 1, key=key)
        return {"range": {"suffix": byte_range.length}}
    if isinstance(byte_range, (Range, From)):
        resolve_range(byte_range, 1 << 62, key=key)
        if isinstance(byte_range, From):
            return {"range": {"offset": byte_range.offset}}
        return {"range": (byte_range.start, byte_range.end)}
    return {}


def version_of(written):
    # Listings of some servers leave out the quotes.
    etag = (written.get("e_tag") or "").strip('"')
    return Version(json.dumps({"e_tag": f'"{etag}"' if etag else None, "version": written.get("version")}))


def known_version(version, key):
    try:
        known = json.loads(version.token)
        return {name: known[name] for name in ("e_tag", "version") if known[name] is not None}
    except (ValueError, KeyError, TypeError) as error:
        raise errors.VersionMismatch(f"object {key!r} never had that version", key=key) from error


def object_info(key, meta, attributes):
    metadata = {name: value for name, value in attributes.items() if name == name.lower()}
    etag = (meta.get("e_tag") or "").strip('"') or None
    return ObjectInfo(
        key, meta["size"], version_of(meta), meta["last_modified"].replace(microsecond=0), metadata, etag
    )


TRANSLATIONS = (
    (FileNotFoundError, errors.NotFound, "there is no such object or bucket"),
    (exceptions.NotFoundError, errors.NotFound, "there is no such object or bucket"),
    (exceptions.AlreadyExistsError, errors.AlreadyExists, "it exists already"),
    (exceptions.PreconditionError, errors.VersionMismatch, "it has another version"),
    (exceptions.NotModifiedError, errors.VersionMismatch, "it has another version"),
    (exceptions.PermissionDeniedError, errors.PermissionDenied, "check the permissions of the credentials"),
    (exceptions.UnauthenticatedError, errors.Unauthenticated, "check the credentials"),
    (exceptions.NotSupportedError, errors.Unsupported, "this storage cannot do that"),
    (exceptions.InvalidPathError, errors.InvalidKey, "this storage cannot hold such a key"),
)


def translated(error, key):
    if isinstance(error, errors.StorageError):
        return error
    for theirs, ours, what in TRANSLATIONS:
        if isinstance(error, theirs):
            return ours(f"{key!r}: {what}", key=key)
    return errors.Unavailable(
        f"{key!r}: the request failed; check address, bucket and network (the cause has the details)", key=key
    )


def spec(kind):
    def options(url):
        return {"kind": kind, "bucket": url.netloc, "prefix": url.path}

    return BackendSpec(
        name=f"obstore-{kind}",
        schemes=[f"obstore+{kind}"],
        config=ObstoreConfig,
        capabilities=CAPABILITIES[kind],
        factory=ObstoreStorage,
        options_from_url=options,
        install_hint="pip install obstore",
    )


@hookimpl
def icechunk_backends():
    return [spec(kind) for kind in CAPABILITIES]
