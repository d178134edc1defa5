"""Keys: 32 random bytes each, written in base64; the first encrypts, all of them decrypt."""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Mapping

from attrs import field, frozen
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from icechunk_core.contract.errors import StorageConfigError
from icechunk_encryption.plugin import EncryptionConfig

__all__ = ["KEY_BYTES", "Keys", "derive", "new_key", "read_keys"]

KEY_BYTES = 32
_MAKE_ONE = "make one with: python -m icechunk_encryption > keyfile"


def new_key() -> str:
    """A new random key, as text."""
    return base64.b64encode(AESGCM.generate_key(8 * KEY_BYTES)).decode()


def derive(key: bytes, salt: bytes | None, purpose: bytes, length: int) -> bytes:
    """Bytes that only who has the key can compute; the purpose keeps uses apart (RFC 5869)."""
    info = b"icechunk-encryption-wrapper 1: " + purpose
    return HKDF(algorithm=SHA256(), length=length, salt=salt, info=info).derive(key)


@frozen
class Keys:
    """The keys of a storage, by id.

    Attributes
    ----------
    current
        Id of the key that encrypts.
    by_id
        All keys. An id is derived from its key, and says nothing about it.
    """

    current: bytes
    by_id: Mapping[bytes, bytes] = field(repr=False)


def read_keys(config: EncryptionConfig) -> Keys:
    """The keys from where the configuration says.

    Raises
    ------
    StorageConfigError
        If there is none, or one is no key. Never shows what stands there.
    """
    text, where = _text(config)
    lines = [line.strip() for line in text.splitlines()]
    keys = [_decoded(line, where) for line in lines if line and not line.startswith("#")]
    if not keys:
        raise StorageConfigError(f"there is no encryption key in {where}; {_MAKE_ONE}")
    ids = [derive(key, None, b"key id", 8) for key in keys]
    return Keys(ids[0], dict(zip(ids, keys, strict=True)))


def _text(config: EncryptionConfig) -> tuple[str, str]:
    if config.key is not None:
        return config.key, "the option 'encrypted.key'"
    if config.key_file is not None:
        path = config.key_file.expanduser()
        try:
            return path.read_text(encoding="utf-8"), f"the file {path}"
        except (OSError, UnicodeDecodeError) as error:
            raise StorageConfigError(
                f"cannot read the encryption key from {path} ({type(error).__name__}); {_MAKE_ONE}"
            ) from error
    text = os.environ.get(config.key_variable)
    if text is None:
        raise StorageConfigError(
            f"there is no encryption key: set the environment variable {config.key_variable}, or name a file "
            f"with the option 'encrypted.key_file'; {_MAKE_ONE}"
        )
    return text, f"the environment variable {config.key_variable}"


def _decoded(line: str, where: str) -> bytes:
    try:
        key = base64.b64decode(line, validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        raise StorageConfigError(
            f"a line in {where} is no encryption key ({KEY_BYTES} bytes in base64); {_MAKE_ONE}"
        )
    return key
