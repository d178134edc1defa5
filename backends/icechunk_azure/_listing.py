"""Listings in the order of the keys' UTF-8 bytes.

The service orders names by UTF-16 code units (Azurite does; the service's documentation says
"alphabetical"). The two orders differ only where, after a common beginning, one name has a character
beyond U+FFFF and the other one from U+E000 to U+FFFF. All names that go on from one beginning with
such a character are neighbours in either order, so it is enough to sort those neighbours.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence

from icechunk_azure._wire import Entry

__all__ = ["in_key_order"]

_LATE = re.compile("[\ue000-\U0010ffff]")


async def in_key_order(pages: AsyncIterator[Sequence[Entry]]) -> AsyncIterator[Entry]:
    """The entries of all pages, in the order of their names' UTF-8 bytes.

    Held back are only neighbours that may have to change places.
    """
    held: list[Entry] = []
    beginning = ""
    async for page in pages:
        for entry in page:
            if held:
                if entry.name.startswith(beginning) and _is_late(entry.name, len(beginning)):
                    held.append(entry)
                    continue
                for each in sorted(held, key=_name):
                    yield each
                held.clear()
            if entry.name.isascii():
                yield entry
                continue
            late = _LATE.search(entry.name)
            if late is None:
                yield entry
                continue
            beginning = entry.name[: late.start()]
            held.append(entry)
    for each in sorted(held, key=_name):
        yield each


def _is_late(name: str, position: int) -> bool:
    return _LATE.match(name, position) is not None


def _name(entry: Entry) -> str:
    # Text compares by code points, which is the order of the UTF-8 bytes.
    return entry.name
