"""`Repository`: the public face of one repository."""

from __future__ import annotations

from typing import Any

from icechunk_core.assets.pack_config import PackConfig
from icechunk_core.contract import Storage
from icechunk_core.drive import blocking, blocking_opener
from icechunk_core.format.configuration import RepositoryConfig, StorageSettings
from icechunk_core.format.json_values import json_object
from icechunk_core.history.creation import detect_spec_version
from icechunk_core.html import facts, fold, page
from icechunk_core.repository import opening
from icechunk_core.repository.arguments import warn_about_missing_credentials
from icechunk_core.repository.attribution import Attribution
from icechunk_core.repository.checking import CheckingPart
from icechunk_core.repository.copying import CopyingPart
from icechunk_core.repository.display import text_of
from icechunk_core.repository.effective import EffectivePart
from icechunk_core.repository.inspection import InspectionPart
from icechunk_core.repository.maintenance_methods import MaintenancePart
from icechunk_core.repository.pack_methods import PacksPart
from icechunk_core.repository.past import HistoryPart
from icechunk_core.repository.refs import RefsPart
from icechunk_core.repository.requesting import requesting_as
from icechunk_core.repository.sessions import SessionsPart
from icechunk_core.repository.status import StatusPart
from icechunk_core.repository.storage_settings import tuning_of
from icechunk_core.repository.values import SpecVersion
from icechunk_core.session import RepositoryContext
from icechunk_core.storage import StorageLike, as_storage

__all__ = ["Repository"]

_opener = blocking_opener(as_storage)


class Repository(
    RefsPart,
    HistoryPart,
    SessionsPart,
    StatusPart,
    InspectionPart,
    MaintenancePart,
    PacksPart,
    CheckingPart,
    CopyingPart,
    EffectivePart,
):
    """A versioned Zarr hierarchy on a storage: branches, tags, history, and sessions to read and write.

    ``storage`` is everywhere a `Storage`, a URL (``"file:///data/repo"``, ``"memory:"``),
    or a path. Blocking methods have a twin ``..._async``.

    >>> repo = Repository.create("memory:")
    >>> sorted(repo.list_branches())
    ['main']
    """

    def __init__(self, context: RepositoryContext, attribution: Attribution | None = None) -> None:
        self._context = context
        self._commit_metadata: dict[str, Any] = {}
        self._attribution = attribution if attribution is not None else Attribution()

    # --- create and open

    @classmethod
    async def create_async(
        cls,
        storage: StorageLike,
        config: RepositoryConfig | None = None,
        authorize_virtual_chunk_access: dict[str, Any] | None = None,
        spec_version: SpecVersion | int | None = None,
        check_clean_root: bool = True,
        attribution: Attribution | None = None,
        *,
        require_commit_safety: bool = True,
        packs: PackConfig | bool | None = None,
    ) -> Repository:
        """Create a repository in an empty place.

        Parameters
        ----------
        storage
            Where: a `Storage`, a URL or a path.
        config
            Stored with the repository; the defaults apply where it says nothing.
        authorize_virtual_chunk_access
            URL prefixes of virtual chunk containers that may be read, with credentials.
        spec_version
            Version of the on-disk format, by default the current one.
        check_clean_root
            Refuse a place that holds other objects.
        attribution
            Labels for the requests that are made to a server.
        require_commit_safety
            Refuse storages without conditional writes. Otherwise commits look first and then
            write, which is safe only while there is one writer.
        packs
            How small chunks are packed, by default as `PackConfig` says; ``False`` switches packs off.
            Not stored: it holds for what is written through this object.

        Raises
        ------
        InvalidInputError
            If there is something at the location already.
        """
        warn_about_missing_credentials(authorize_virtual_chunk_access)
        opened = requesting_as(as_storage(storage), attribution)
        opened = opening.fit_for_commits(opened, require_commit_safety=require_commit_safety)
        version = int(spec_version) if spec_version is not None else int(SpecVersion.current())
        return cls(
            await opening.create_context(
                opened,
                config,
                authorize_virtual_chunk_access,
                version,
                check_clean_root=check_clean_root,
                packs=packs,
            ),
            attribution,
        )

    create = _opener(create_async)

    @classmethod
    async def open_async(
        cls,
        storage: StorageLike,
        config: RepositoryConfig | None = None,
        authorize_virtual_chunk_access: dict[str, Any] | None = None,
        attribution: Attribution | None = None,
        *,
        require_commit_safety: bool = True,
        packs: PackConfig | bool | None = None,
    ) -> Repository:
        """Open an existing repository.

        Parameters
        ----------
        config
            Overrides the stored configuration, setting by setting, for this object only.
        packs
            How small chunks are packed (see `create`).

        Raises
        ------
        RepositoryNotFoundError
            If there is none at the location.
        """
        warn_about_missing_credentials(authorize_virtual_chunk_access)
        opened = requesting_as(as_storage(storage), attribution)
        opened = opening.fit_for_commits(opened, require_commit_safety=require_commit_safety)
        context = await opening.open_context(opened, config, authorize_virtual_chunk_access, packs=packs)
        return cls(context, attribution)

    open = _opener(open_async)

    @classmethod
    async def open_or_create_async(
        cls,
        storage: StorageLike,
        config: RepositoryConfig | None = None,
        authorize_virtual_chunk_access: dict[str, Any] | None = None,
        create_version: SpecVersion | int | None = None,
        check_clean_root: bool = True,
        attribution: Attribution | None = None,
        *,
        require_commit_safety: bool = True,
        packs: PackConfig | bool | None = None,
    ) -> Repository:
        """Open the repository or create it; several processes may do so at once."""
        warn_about_missing_credentials(authorize_virtual_chunk_access)
        opened = requesting_as(as_storage(storage), attribution)
        opened = opening.fit_for_commits(opened, require_commit_safety=require_commit_safety)
        version = int(create_version) if create_version is not None else int(SpecVersion.current())
        return cls(
            await opening.open_or_create_context(
                opened,
                config,
                authorize_virtual_chunk_access,
                version,
                check_clean_root=check_clean_root,
                packs=packs,
            ),
            attribution,
        )

    open_or_create = _opener(open_or_create_async)

    @classmethod
    async def exists_async(
        cls, storage: StorageLike, storage_settings: StorageSettings | None = None
    ) -> bool:
        """Whether there is a repository at the location.

        ``storage_settings`` say how to ask: how often, and how long to wait.
        """
        return await detect_spec_version(as_storage(storage).tuned(tuning_of(storage_settings))) is not None

    exists = _opener(exists_async)

    @classmethod
    async def fetch_spec_version_async(
        cls, storage: StorageLike, storage_settings: StorageSettings | None = None
    ) -> SpecVersion | None:
        """Format version of the repository at the location; ``None`` if there is none.

        ``storage_settings`` say how to ask: how often, and how long to wait.
        """
        found = await detect_spec_version(as_storage(storage).tuned(tuning_of(storage_settings)))
        return None if found is None else SpecVersion(found)

    fetch_spec_version = _opener(fetch_spec_version_async)

    @classmethod
    async def fetch_config_async(cls, storage: StorageLike) -> RepositoryConfig | None:
        """The stored configuration; ``None`` if none was stored.

        Raises
        ------
        RepositoryNotFoundError
            If there is no repository at the location.
        """
        context = await opening.open_context(as_storage(storage), None, None)
        document = await context.history.stored_config()
        return opening.decode_config(document, context.spec_version)

    fetch_config = _opener(fetch_config_async)

    # --- what it is

    @property
    def spec_version(self) -> SpecVersion:
        """Version of the on-disk format."""
        return SpecVersion(self._context.spec_version)

    @property
    def storage(self) -> Storage:
        """The storage it is on."""
        return self._context.storage.unobserved

    @property
    def config(self) -> RepositoryConfig:
        """The effective configuration."""
        return self._context.config

    @property
    def attribution(self) -> Attribution:
        """The labels that its requests to a server carry."""
        return self._attribution

    @property
    def authorized_virtual_container_prefixes(self) -> set[str]:
        """URL prefixes below which virtual chunks may be read."""
        return set(self._context.authorized)

    async def reopen_async(
        self,
        config: RepositoryConfig | None = None,
        authorize_virtual_chunk_access: dict[str, Any] | None = None,
        *,
        packs: PackConfig | bool | None = None,
    ) -> Repository:
        """The same repository with other settings, for the new object only.

        The stored configuration is not read again, and default commit metadata is not taken over.

        Parameters
        ----------
        config
            Overrides this object's configuration, setting by setting.
        authorize_virtual_chunk_access
            Replaces the authorisations; without it they stay as they are.
        packs
            Replaces how chunks are packed; without it that stays as it is.
        """
        warn_about_missing_credentials(authorize_virtual_chunk_access)
        context = opening.reopened(self._context, config, authorize_virtual_chunk_access, packs)
        return type(self)(context, self._attribution)

    reopen = blocking(reopen_async)

    async def save_config_async(self) -> None:
        """Store the effective configuration, for everybody who opens the repository from now on."""
        document = opening.encode_config(self._context.config, self._context.spec_version)
        await self._context.history.save_config(document)

    save_config = blocking(save_config_async)

    def set_default_commit_metadata(self, metadata: dict[str, Any]) -> None:
        """Metadata that sessions opened from now on add to each commit; a commit's own keys win."""
        self._commit_metadata = json_object(metadata)

    def default_commit_metadata(self) -> dict[str, Any]:
        """What `set_default_commit_metadata` was given."""
        return dict(self._commit_metadata)

    # --- copies

    def __getstate__(self) -> dict[str, Any]:
        return {
            "context": self._context,
            "commit_metadata": self._commit_metadata,
            "attribution": self._attribution,
        }

    def __setstate__(self, saved: dict[str, Any]) -> None:
        self._context = saved["context"]
        self._commit_metadata = saved["commit_metadata"]
        self._attribution = saved["attribution"]

    def __repr__(self) -> str:
        return f"<icechunk_core.Repository (spec {self._context.spec_version}) on {self.storage!r}>"

    def __str__(self) -> str:
        # The configuration is long; it shows itself when it is asked for.
        shown = [("storage", self.storage), ("config", "<RepositoryConfig ...>")]
        return text_of(f"Repository (v{self._context.spec_version})", shown)

    def _repr_html_(self) -> str:
        shown = facts([("storage", repr(self.storage)), ("packs", repr(self._context.packs))])
        config = fold("configuration", self.config._repr_html_())
        requests = fold("requests so far", self.io_stats._repr_html_())
        return page(f"Repository (v{self._context.spec_version})", shown, config, requests)
