"""What applies to an opened repository: every setting with its value, and where the value comes from."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from typing import Any

import attrs
from attrs import frozen

from icechunk_core.assets.pack_config import PackConfig, plain_layout
from icechunk_core.contract import Storage
from icechunk_core.drive import blocking
from icechunk_core.format.config_display import settings
from icechunk_core.format.configuration import RepositoryConfig
from icechunk_core.html import fold, page, shortened, table, text
from icechunk_core.repository.opening import decode_config
from icechunk_core.repository.part import RepositoryPart

__all__ = ["EffectiveConfig", "EffectivePart", "EffectiveSetting", "SettingSource"]

_LONGEST = 200


class SettingSource(Enum):
    """Where the value of a setting comes from."""

    DEFAULT = "default"
    """Nobody set it."""
    STORED = "stored"
    """The configuration that is stored with the repository."""
    GIVEN = "given"
    """Whoever opened the repository: its URL, options, ``config`` or ``packs``."""
    REPOSITORY = "repository"
    """The repository's configuration, whose ``storage`` settings are options of its storage."""
    ENVIRONMENT = "environment"
    """A variable of the environment."""


@frozen
class EffectiveSetting:
    """One setting.

    Attributes
    ----------
    name
        Its name; with dots where it is nested.
    value
        The value that applies, as text. A secret is never shown, only that it is set.
    source
        Where the value comes from.
    """

    name: str
    value: str
    source: SettingSource


@frozen(repr=False)
class EffectiveConfig:
    """All settings of an opened repository.

    Attributes
    ----------
    sections
        Settings by what they belong to: ``storage`` (the backend's options: address, timeouts,
        retries, connections), one ``layer NAME`` for each wrapper that the URL names,
        ``repository`` (caches, requests at a time, manifests, retries of updates) and ``packs``.
    """

    sections: dict[str, list[EffectiveSetting]]

    def __getitem__(self, name: str) -> EffectiveSetting:
        """A setting by section and name: ``effective["storage.connect_timeout"]``."""
        section, _, rest = name.partition(".")
        for each in self.sections.get(section, []):
            if each.name == rest:
                return each
        raise KeyError(name)

    def to_dict(self) -> dict[str, dict[str, dict[str, str]]]:
        """The same as JSON values."""
        return {
            section: {each.name: {"value": each.value, "source": each.source.value} for each in found}
            for section, found in self.sections.items()
        }

    def __repr__(self) -> str:
        lines = ["<icechunk_core.EffectiveConfig>"]
        for section, found in self.sections.items():
            lines.append(f"{section}:")
            width = max((len(each.name) for each in found), default=0)
            lines += [f"    {each.name:<{width}}  {each.value}  ({each.source.value})" for each in found]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        parts = []
        for section, found in self.sections.items():
            changed = [each for each in found if each.source is not SettingSource.DEFAULT]
            rest = [each for each in found if each.source is SettingSource.DEFAULT]
            body = _table(changed) if changed else ""
            if rest:
                body += fold(f"<span class='icck-mute'>{len(rest)} defaults</span>", _table(rest))
            parts.append(fold(f"<b>{text(section)}</b>", body, opened=True))
        return page("EffectiveConfig", *parts)


def _table(found: list[EffectiveSetting]) -> str:
    rows = [[each.name, each.value, each.source.value] for each in found]
    return table(["setting", "value", "from"], rows)


class EffectivePart(RepositoryPart):
    """Tells which settings apply."""

    async def effective_config_async(self) -> EffectiveConfig:
        """Every setting that applies to this object, its value, and where the value comes from.

        Retries, timeouts and connections are those that the backend declares in its configuration.
        Secrets are not shown. The stored configuration is read again, with one request.

        >>> import icechunk_core
        >>> repo = icechunk_core.Repository.create("memory:", packs=False)
        >>> repo.effective_config()["packs.enabled"]
        EffectiveSetting(name='enabled', value='False', source=<SettingSource.GIVEN: 'given'>)
        """
        context = self._context
        stored = decode_config(await context.history.stored_config(), context.spec_version)
        sections = {"storage": list(_options(context.storage.tuned_config, context.storage))}
        for name, config in context.storage.layers:
            sections[f"layer {name}"] = list(_options(config, None))
        sections["repository"] = list(_of_repository(context.config, stored))
        sections["packs"] = list(_of_packs(context.packs))
        return EffectiveConfig(sections)

    effective_config = blocking(effective_config_async)


def _options(config: Any, storage: Storage | None) -> Iterator[EffectiveSetting]:
    """The options of a backend or wrapper, by its configuration class."""
    if storage is not None:
        yield EffectiveSetting("backend", storage.plugin, SettingSource.GIVEN)
    if not attrs.has(type(config)):
        return
    for each in attrs.fields(type(config)):
        if not each.init or each.name.startswith("_"):
            continue
        value, default = getattr(config, each.name), _default(each, config)
        source = SettingSource.DEFAULT if value == default else SettingSource.GIVEN
        if storage is not None and value != getattr(storage.config, each.name):
            source = SettingSource.REPOSITORY
        yield EffectiveSetting(each.name, _shown(each, value, config, source), source)


def _default(each: attrs.Attribute[Any], config: Any) -> Any:
    default: Any = each.default
    if not isinstance(default, attrs.Factory):  # type: ignore[arg-type]
        return default
    return default.factory(config) if default.takes_self else default.factory()


def _shown(each: attrs.Attribute[Any], value: Any, config: Any, source: SettingSource) -> str:
    if each.repr is False:  # how configuration classes mark what is secret
        return "not set" if source is SettingSource.DEFAULT else "set, not shown"
    if callable(each.repr):  # shows a part
        return each.repr(value)
    return shortened("not set" if value is None else str(value), _LONGEST)


def _of_repository(config: RepositoryConfig, stored: RepositoryConfig | None) -> Iterator[EffectiveSetting]:
    known = {each.name: each.value for each in settings(stored) if each.given} if stored is not None else {}
    for each in settings(config):
        if not each.given:
            source = SettingSource.DEFAULT
        elif known.get(each.name) == each.value:
            source = SettingSource.STORED
        else:
            source = SettingSource.GIVEN
        yield EffectiveSetting(each.name, shortened(each.value, _LONGEST), source)


def _of_packs(packs: PackConfig) -> Iterator[EffectiveSetting]:
    switched_off = not packs.enabled and plain_layout()
    for each in attrs.fields(PackConfig):
        value = getattr(packs, each.name)
        source = SettingSource.DEFAULT if value == each.default else SettingSource.GIVEN
        if each.name == "enabled" and switched_off:
            source = SettingSource.ENVIRONMENT
        yield EffectiveSetting(each.name, str(value), source)
