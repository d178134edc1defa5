"""Access to the test vectors: genuine repositories with their expected contents (`tests/vectors/README.md`).

Each archive is unpacked once per process into a temporary directory that is removed at exit. The unpacked
files are shared: a test that writes must work on `Vector.copy_to`.

>>> vector = load_vector("v21-basic")
>>> sorted(vector.expected["branches"])
['dev', 'main', 'old']
"""

from __future__ import annotations

import atexit
import functools
import json
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from attrs import frozen

_ARCHIVES = Path(__file__).parent / "vectors"
_SUFFIX = ".tar.gz"

VECTOR_NAMES: tuple[str, ...] = tuple(
    sorted(path.name.removesuffix(_SUFFIX) for path in _ARCHIVES.glob(f"*{_SUFFIX}"))
)
SPEC_1_NAMES: tuple[str, ...] = tuple(name for name in VECTOR_NAMES if name.startswith("v1-"))
SPEC_2_NAMES: tuple[str, ...] = tuple(name for name in VECTOR_NAMES if not name.startswith("v1-"))


@frozen
class Vector:
    """One unpacked vector.

    Attributes
    ----------
    name
        For instance ``v21-basic``.
    directory
        Where the archive was unpacked.
    expected
        The parsed ``expected.json``. Do not change it: it is shared.
    """

    name: str
    directory: Path
    expected: dict[str, Any]

    @property
    def repo(self) -> Path:
        """The repository's root directory."""
        return self.directory / "repo"

    @property
    def data(self) -> Path:
        """Directory with the targets of virtual chunks (may not exist)."""
        return self.directory / "data"

    @property
    def is_spec_1(self) -> bool:
        """Whether the root is a spec 1 root (no ``repo`` object)."""
        return self.name in SPEC_1_NAMES

    def read(self, key: str) -> bytes:
        """The bytes of one object of the repository."""
        return (self.repo / key).read_bytes()

    def keys(self, prefix: str = "") -> list[str]:
        """Keys of all objects, or of those under a prefix directory, sorted."""
        root = self.repo / prefix
        return sorted(path.relative_to(self.repo).as_posix() for path in root.rglob("*") if path.is_file())

    def copy_to(self, target: Path) -> Path:
        """Copy the repository to a directory that a test may change; returns ``target``."""
        shutil.copytree(self.repo, target, dirs_exist_ok=True)
        return target


@functools.cache
def _unpacked() -> Path:
    directory = tempfile.mkdtemp(prefix="icechunk-vectors-")
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    return Path(directory)


@functools.cache
def load_vector(name: str) -> Vector:
    """Unpack one vector (once per process)."""
    directory = _unpacked() / name
    with tarfile.open(_ARCHIVES / f"{name}{_SUFFIX}") as archive:
        # Python 3.11.2 has no filters yet; later ones warn unless told which to use.
        archive.extraction_filter = getattr(tarfile, "data_filter", None)
        archive.extractall(directory)
    expected = json.loads((directory / "expected.json").read_text("utf-8"))
    return Vector(name, directory, expected)


def load_vectors() -> Iterator[Vector]:
    """Every vector, in name order."""
    return (load_vector(name) for name in VECTOR_NAMES)
