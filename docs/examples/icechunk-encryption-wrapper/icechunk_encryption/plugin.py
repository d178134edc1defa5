"""What icechunk-core finds: the wrapper ``encrypted`` and its options. Imports no cryptography."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from attrs import field, frozen

from icechunk_core.contract import Storage, WrapperSpec, hookimpl


@frozen
class EncryptionConfig:
    """Where the keys are. The first that is set counts: ``key``, ``key_file``, ``key_variable``.

    Attributes
    ----------
    key
        The keys themselves. They travel wherever the storage is pickled to.
    key_file
        A file with the keys, which every process must be able to read.
    key_variable
        The environment variable with the keys, which every process must have.
    """

    key: str | None = field(default=None, repr=False)
    key_file: Path | None = None
    key_variable: str = "ICECHUNK_ENCRYPTION_KEY"


def wrap(storage: Storage, config: EncryptionConfig) -> Storage:
    """The storage, with everything that is put into it encrypted."""
    from icechunk_encryption._keys import read_keys
    from icechunk_encryption._storage import encrypted

    return encrypted(storage, read_keys(config))


@hookimpl
def icechunk_wrappers() -> Iterable[WrapperSpec]:
    """The wrapper."""
    return [
        WrapperSpec(
            name="encrypted", config=EncryptionConfig, wrap=wrap, install_hint="pip install cryptography"
        )
    ]
