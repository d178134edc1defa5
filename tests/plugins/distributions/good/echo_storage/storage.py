"""The operations, without conditional puts."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from icechunk_core.contract import Always, Capabilities, DeleteResult, ObjectInfo, Version, hookimpl, joined
from icechunk_core.contract.errors import NotFound, Unsupported
from icechunk_core.contract.types import resolve_range

CAPABILITIES = Capabilities(may_suspend=False)


class EchoStorage:
    """Objects in a dictionary."""

    def __init__(self) -> None:
        self.objects: dict[str, tuple[bytes, ObjectInfo]] = {}

    @hookimpl
    async def get_range(self, key: str, byte_range: Any) -> Any:
        if key not in self.objects:
            raise NotFound(f"no object {key!r}", key=key)
        data, info = self.objects[key]
        start, end = resolve_range(byte_range, len(data), key=key)
        return data[start:end], info

    @hookimpl
    async def put(self, key: str, data: Any, condition: Any) -> Version:
        if not isinstance(condition, Always):
            raise Unsupported("no conditional puts", key=key)
        content = joined(data)
        version = Version(str(len(self.objects)))
        self.objects[key] = (content, ObjectInfo(key, len(content), version, datetime.now(UTC)))
        return version

    @hookimpl
    async def list(self, prefix: str) -> Any:
        for key in sorted(self.objects):
            if key.startswith(prefix):
                yield self.objects[key][1]

    @hookimpl
    async def head(self, key: str) -> ObjectInfo:
        if key not in self.objects:
            raise NotFound(f"no object {key!r}", key=key)
        return self.objects[key][1]

    @hookimpl
    async def delete(self, keys: Any) -> Any:
        for key in keys:
            self.objects.pop(key, None)
        return [DeleteResult(key) for key in keys]

    @hookimpl
    async def close(self) -> None:
        self.objects.clear()
