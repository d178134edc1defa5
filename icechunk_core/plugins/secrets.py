"""Keep secrets out of messages: which values of a configuration are secret, and a text without them.

A field of a configuration class is secret when it is declared with ``repr=False``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import attrs

__all__ = ["scrubbed", "secret_texts"]


def secret_texts(config: type[Any] | object, options: Mapping[str, Any] | None = None) -> set[str]:
    """The texts that must not be shown: of a configuration, or of options for a configuration class."""
    if isinstance(config, type):
        hidden = {each.name for each in attrs.fields(config) if not each.repr}
        return {
            text for name, value in (options or {}).items() for text in _texts(value, secret=name in hidden)
        }
    return set(_texts(config, secret=False))


def _texts(value: Any, *, secret: bool) -> Iterator[str]:
    if isinstance(value, str):
        if secret and value:
            yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _texts(each, secret=secret)
    elif isinstance(value, list | tuple | set | frozenset):
        for each in value:
            yield from _texts(each, secret=secret)
    elif attrs.has(type(value)):
        for attribute in attrs.fields(type(value)):
            yield from _texts(getattr(value, attribute.name, None), secret=secret or not attribute.repr)


def scrubbed(text: str, secrets: Iterable[str]) -> str:
    """A text with every occurrence of a secret replaced by ``***``.

    >>> scrubbed("bad key 'hunter2'", ["hunter2"])
    "bad key '***'"
    """
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, "***")
    return text
