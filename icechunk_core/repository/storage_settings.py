"""`StorageSettings` at work: how a repository's configuration changes the way that its storage is used."""

from __future__ import annotations

import warnings

from icechunk_core.contract import AtomicityScope, RetryPolicy, Storage, Tuning, tuned_options
from icechunk_core.contract.wrappers import for_single_writer, with_retries
from icechunk_core.format.configuration import (
    RepositoryConfig,
    StorageConcurrencySettings,
    StorageRetriesSettings,
    StorageSettings,
    StorageTimeoutSettings,
)
from icechunk_core.repository.arguments import frames_of_ours

__all__ = ["as_configured", "tuning_of"]

_OF_ICECHUNK = StorageSettings(
    concurrency=StorageConcurrencySettings(18, 12 << 20),
    retries=StorageRetriesSettings(10, 100, 180_000),
    minimum_size_for_multipart_upload=100 << 20,
)
"""What Icechunk stores of a service without anybody having chosen it."""
_OF_ICECHUNK_LOCALLY = StorageSettings(
    concurrency=StorageConcurrencySettings(5, 4096), retries=StorageRetriesSettings(1, 0, 0)
)
"""What it stores of a local directory; requests of 4 KiB are no use where that is served or copied to."""

_SETTINGS = {
    "attempts": "retries.max_tries",
    "first_wait": "retries.initial_backoff_ms",
    "longest_wait": "retries.max_backoff_ms",
    "connect_timeout": "timeouts.connect_timeout_ms",
    "read_timeout": "timeouts.read_timeout_ms",
    "attempt_timeout": "timeouts.operation_attempt_timeout_ms",
    "total_timeout": "timeouts.operation_timeout_ms",
    "part_size": "concurrency.ideal_concurrent_request_size",
    "concurrent_parts": "concurrency.max_concurrent_requests_for_object",
    "multipart_threshold": "minimum_size_for_multipart_upload",
}
_RETRYING = frozenset({"attempts", "first_wait", "longest_wait"})
_HINTS = frozenset({"part_size", "concurrent_parts", "multipart_threshold"})
"""They change how fast something is done, not what; a storage may do without."""


def as_configured(storage: Storage, config: RepositoryConfig, given: RepositoryConfig | None) -> Storage:
    """The storage as the configuration says to use it.

    Parameters
    ----------
    config
        What applies: what is stored with the repository, and over it what the caller gave.
    given
        What the caller gave.
    """
    asked = given.storage if given is not None else None
    return _without_conditions(_tuned(storage, _chosen(config.storage, asked), asked), config, given)


def tuning_of(settings: StorageSettings | None) -> Tuning:
    """What settings ask of a storage's client.

    >>> tuning_of(StorageSettings(retries=StorageRetriesSettings(max_tries=3, initial_backoff_ms=50))).asked()
    {'attempts': 3, 'first_wait': 0.05}
    """
    settings = settings or StorageSettings()
    retries = settings.retries or StorageRetriesSettings()
    timeouts = settings.timeouts or StorageTimeoutSettings()
    concurrency = settings.concurrency or StorageConcurrencySettings()
    return Tuning(
        attempts=retries.max_tries,
        first_wait=_seconds(retries.initial_backoff_ms),
        longest_wait=_seconds(retries.max_backoff_ms),
        connect_timeout=_limit(timeouts.connect_timeout_ms),
        read_timeout=_limit(timeouts.read_timeout_ms),
        attempt_timeout=_limit(timeouts.operation_attempt_timeout_ms),
        total_timeout=_limit(timeouts.operation_timeout_ms),
        part_size=concurrency.ideal_concurrent_request_size,
        concurrent_parts=concurrency.max_concurrent_requests_for_object,
        multipart_threshold=settings.minimum_size_for_multipart_upload,
    )


def _seconds(milliseconds: int | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000


def _limit(milliseconds: int | None) -> float | None:
    return _seconds(milliseconds if milliseconds is None else max(milliseconds, 1))


def _chosen(effective: StorageSettings | None, asked: StorageSettings | None) -> StorageSettings:
    """The settings without those that nobody chose: stored, with the value that Icechunk stores by itself."""
    effective, asked = effective or StorageSettings(), asked or StorageSettings()
    usual = (_OF_ICECHUNK, _OF_ICECHUNK_LOCALLY)
    concurrency, retries = effective.concurrency, effective.retries
    multipart = effective.minimum_size_for_multipart_upload
    if asked.concurrency is None and concurrency in [each.concurrency for each in usual]:
        concurrency = None
    if asked.retries is None and retries in [each.retries for each in usual]:
        retries = None
    if asked.minimum_size_for_multipart_upload is None:
        multipart = None if multipart == _OF_ICECHUNK.minimum_size_for_multipart_upload else multipart
    return StorageSettings(
        concurrency=concurrency,
        retries=retries,
        timeouts=effective.timeouts,
        minimum_size_for_multipart_upload=multipart,
    )


def _tuned(storage: Storage, chosen: StorageSettings, asked: StorageSettings | None) -> Storage:
    tuning = tuning_of(chosen)
    _, unheard = tuned_options(storage.config, tuning)
    storage = storage.tuned(tuning)
    if "attempts" in unheard:
        asked_for = {name: value for name, value in tuning.asked().items() if name in _RETRYING}
        storage = with_retries(storage, RetryPolicy(**asked_for))  # type: ignore[arg-type]
        unheard -= _RETRYING
    in_vain = (unheard - _HINTS) & tuning_of(asked).asked().keys()
    if in_vain and storage.capabilities.atomicity >= AtomicityScope.GLOBAL:
        names = ", ".join(sorted(_SETTINGS[name] for name in in_vain))
        warnings.warn(
            f"StorageSettings: {storage.plugin} storage has no option for {names}; without effect here",
            UserWarning,
            stacklevel=frames_of_ours() + 1,
        )
    return storage


def _without_conditions(
    storage: Storage, config: RepositoryConfig, given: RepositoryConfig | None
) -> Storage:
    """Without the conditional puts that the configuration says not to use.

    Where it is a server that may not know conditions, also what is stored with the repository counts. Where
    locks of our own hold them, only what the caller says: Icechunk has no conditional updates on local
    directories, and stores that with every configuration it writes there.
    """
    by_server = storage.capabilities.atomicity >= AtomicityScope.GLOBAL
    settings = (config if by_server else given or RepositoryConfig()).storage
    create = settings is not None and settings.unsafe_use_conditional_create is False
    update = settings is not None and settings.unsafe_use_conditional_update is False
    return for_single_writer(storage, create=create, update=update) if create or update else storage
