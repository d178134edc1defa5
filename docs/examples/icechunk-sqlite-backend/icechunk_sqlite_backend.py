"""Icechunk repositories in one SQLite file: a storage backend for icechunk-core."""

import json
import os
import sqlite3
import threading
from urllib.parse import unquote

from attrs import field, frozen

from icechunk_core.clock import SystemClock, datetime_from_us
from icechunk_core.contract import (
    AtomicityScope,
    BackendSpec,
    Capabilities,
    DeleteResult,
    IfAbsent,
    IfVersion,
    ObjectInfo,
    Version,
    errors,
    hookimpl,
    joined,
    resolve_range,
)
from icechunk_core.contract.keys import check_key
from icechunk_core.ids import SystemIds

COLUMNS = "key, length(data), version, modified, metadata"
CAPABILITIES = Capabilities(
    create=True,
    update=True,
    atomicity=AtomicityScope.PROCESS,  # SQLite's locks hold between the processes of one host
    metadata=True,
    may_suspend=False,  # nothing below awaits anything, so that no event loop is needed
    durable=True,
    max_object_size=1_000_000_000,
)


@frozen
class SqliteConfig:  # what a storage pickles to; secrets would be fields with repr=False
    path: str = field(converter=os.path.abspath)


class SqliteStorage:
    def __init__(self, config):
        self.lock = threading.Lock()
        self.connection = sqlite3.connect(
            config.path, timeout=60, isolation_level=None, check_same_thread=False
        )
        self.connection.execute("PRAGMA journal_mode=WAL")
        self.connection.execute("PRAGMA synchronous=FULL")
        self.connection.execute(
            "CREATE TABLE IF NOT EXISTS objects (key PRIMARY KEY, data, version, modified, metadata)"
        )

    def execute(self, sql, *values):
        with self.lock:
            if self.connection is None:
                raise errors.Closed("the SQLite storage was closed; open it again")
            try:
                cursor = self.connection.execute(sql, values)
                return cursor.fetchall(), cursor.rowcount
            except sqlite3.OperationalError as error:
                raise errors.Unavailable(f"SQLite: {error}") from error

    def find(self, columns, key):
        rows, _ = self.execute(f"SELECT {columns} FROM objects WHERE key = ?", check_key(key))
        if not rows:
            raise errors.NotFound(f"no object {key!r}", key=key)
        return rows[0]

    @hookimpl
    async def get_range(self, key, byte_range, if_version):
        data, *row = self.find(f"data, {COLUMNS}", key)
        if if_version is not None and if_version.token != row[2]:
            raise errors.VersionMismatch(f"object {key!r} has another version", key=key)
        start, end = resolve_range(byte_range, len(data), key=key)
        return data[start:end], object_info(*row)

    @hookimpl
    async def head(self, key):
        return object_info(*self.find(COLUMNS, key))

    @hookimpl
    async def put(self, key, data, condition, metadata):
        token, now = SystemIds().write_id(), SystemClock().now_us()
        values = joined(data), token, now, json.dumps(dict(metadata or {})), check_key(key)
        # Each is one statement, which SQLite carries out as a whole or not at all.
        if isinstance(condition, IfVersion):
            update = "UPDATE objects SET data=?, version=?, modified=?, metadata=? WHERE key=? AND version=?"
            if self.execute(update, *values, condition.version.token)[1] == 0:
                raise errors.VersionMismatch(f"object {key!r} is missing or has another version", key=key)
        else:
            verb = "INSERT OR IGNORE" if isinstance(condition, IfAbsent) else "REPLACE"
            insert = f"{verb} INTO objects (data, version, modified, metadata, key) VALUES (?, ?, ?, ?, ?)"
            if self.execute(insert, *values)[1] == 0:
                raise errors.AlreadyExists(f"object {key!r} exists", key=key)
        return Version(token)

    @hookimpl
    async def list(self, prefix, start_after):
        page = f"SELECT {COLUMNS} FROM objects WHERE key > ? AND key >= ? ORDER BY key LIMIT 1000"
        after = start_after or ""
        while rows := self.execute(page, after, prefix)[0]:
            for row in rows:
                if not row[0].startswith(prefix):
                    return
                yield object_info(*row)
            after = rows[-1][0]

    @hookimpl
    async def delete(self, keys):
        results = []
        for key in keys:
            try:
                self.execute("DELETE FROM objects WHERE key = ?", check_key(key))
                results.append(DeleteResult(key))
            except errors.InvalidKey as error:
                results.append(DeleteResult(key, error))
        return results

    @hookimpl
    async def close(self):
        with self.lock:
            if self.connection is not None:
                self.connection.close()
            self.connection = None


def object_info(key, size, version, modified, metadata):
    return ObjectInfo(key, size, Version(version), datetime_from_us(modified), json.loads(metadata))


@hookimpl
def icechunk_backends():
    return [
        BackendSpec(
            name="sqlite",
            schemes=["sqlite"],
            config=SqliteConfig,
            capabilities=CAPABILITIES,
            factory=SqliteStorage,
            options_from_url=lambda url: {"path": unquote(url.netloc + url.path)},
        )
    ]
