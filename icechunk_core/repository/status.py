"""What a repository says about itself: metadata, status, feature flags. All of it needs spec 2."""

from __future__ import annotations

from typing import Any

from icechunk_core.drive import blocking
from icechunk_core.format.json_values import json_object
from icechunk_core.repository.part import RepositoryPart
from icechunk_core.repository.values import FeatureFlag, RepoStatus
from icechunk_core.transaction import repo_updates

__all__ = ["StatusPart"]


class StatusPart(RepositoryPart):
    """Metadata, status and feature flags of a repository.

    In spec 1 every method raises `FormatError` (``unsupported-spec-version``).
    """

    # --- metadata

    async def get_metadata_async(self) -> dict[str, Any]:
        """The repository's own metadata, a JSON object. It has no history."""
        return dict((await self._context.history.info()).metadata)

    get_metadata = blocking(get_metadata_async)

    @property
    def metadata(self) -> dict[str, Any]:
        """The repository's metadata as it is now (`get_metadata`); changing the dictionary has no effect."""
        return self.get_metadata()

    async def set_metadata_async(self, metadata: dict[str, Any]) -> None:
        """Replace the repository's metadata.

        Raises
        ------
        TypeError
            If it is not a dictionary of JSON values.
        """
        values = json_object(metadata)
        await self._context.history.update(lambda info: repo_updates.set_metadata(info, values))

    set_metadata = blocking(set_metadata_async)

    async def update_metadata_async(self, metadata: dict[str, Any]) -> dict[str, Any]:
        """Add keys to the repository's metadata, replacing those that exist; gives the result.

        Safe when several do so at once: each one's keys are kept.

        >>> import icechunk_core
        >>> repo = icechunk_core.Repository.create("memory:")
        >>> repo.set_metadata({"owner": "ocean group"})
        >>> repo.update_metadata({"licence": "CC0"})
        {'owner': 'ocean group', 'licence': 'CC0'}
        """
        values = json_object(metadata)
        info = await self._context.history.update(
            lambda info: repo_updates.set_metadata(info, values, merge=True)
        )
        return dict(info.metadata)

    update_metadata = blocking(update_metadata_async)

    # --- status

    async def get_status_async(self) -> RepoStatus:
        """Whether the repository may be changed, since when, and why."""
        return RepoStatus.from_record((await self._context.history.info()).status)

    get_status = blocking(get_status_async)

    @property
    def status(self) -> RepoStatus:
        """The status as it is now (`get_status`)."""
        return self.get_status()

    async def set_status_async(self, status: RepoStatus) -> None:
        """Make the repository read-only for everybody, or online again.

        Sessions that are open keep what they hold; their commits are refused while it is read-only.
        """
        if not isinstance(status, RepoStatus):
            raise TypeError(f"status must be a RepoStatus, not {type(status).__name__}")
        record = status.to_record()
        await self._context.history.update(lambda info: repo_updates.set_status(info, record))

    set_status = blocking(set_status_async)

    # --- feature flags

    async def feature_flags_async(self) -> list[FeatureFlag]:
        """All feature flags, by id."""
        return FeatureFlag.all_of(await self._context.history.info())

    feature_flags = blocking(feature_flags_async)

    async def enabled_feature_flags_async(self) -> list[FeatureFlag]:
        """The feature flags that are on."""
        return [flag for flag in await self.feature_flags_async() if flag.enabled]

    enabled_feature_flags = blocking(enabled_feature_flags_async)

    async def disabled_feature_flags_async(self) -> list[FeatureFlag]:
        """The feature flags that are off."""
        return [flag for flag in await self.feature_flags_async() if not flag.enabled]

    disabled_feature_flags = blocking(disabled_feature_flags_async)

    async def set_feature_flag_async(self, name: str, setting: bool | None) -> None:
        """Switch a feature on or off for everybody who uses the repository.

        Parameters
        ----------
        name
            ``move_node``, ``create_tag`` or ``delete_tag``.
        setting
            None: back to the default.

        Raises
        ------
        InvalidInputError
            If there is no flag of that name.
        """
        if not (setting is None or isinstance(setting, bool)):
            raise TypeError(f"setting must be True, False or None, not {setting!r}")
        await self._context.history.update(lambda info: repo_updates.set_feature_flag(info, name, setting))

    set_feature_flag = blocking(set_feature_flag_async)
