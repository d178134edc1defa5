"""xarray's own tests of its zarr backend, on sessions in memory and in directories.

They run as xarray wrote them, with these exceptions:

* Pickling: a store of a writable session does not pickle, by intention: writes of the copy would be
  missing from the commit. The two tests of it run on a fork, which is what is made for that.
* Zarr format 2: a repository has format 3 only, so the fixture that would repeat every test in both
  formats gives the one.
* Appending: two tests write to a temporary file whatever the target is; here they write to the store.
* What xarray marks as not for format 3 is skipped, with xarray's reason.

What else is skipped or expected to fail is so by xarray, for every zarr store:

* ``test_roundtrip_mask_and_scale`` with float32, which xarray promotes to float64 in zarr; with data whose
  ``_Unsigned`` is wrong on purpose; and with 8-bit integers, which it holds for NetCDF4's own;
* ``test_roundtrip_bytes_with_fill_value`` ("Broken by Zarr 3.0.7");
* ``test_append_string_length_mismatch_works``, which was right for zarr before 3.1, whose counterpart
  ``..._raises`` runs;
* ``test_encoding_unlimited_dims``, as zarr has none;
* ``test_roundtrip_example_1_netcdf``, ``test_coordinate_variables_after_iris_roundtrip`` and
  ``test_drop_encoding``, which read a NetCDF 3 file and need scipy or netCDF4 for it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

# Before that, xarray's test class has other fixtures, and its package does not have all of them.
pytest.importorskip("xarray", minversion="2025.9")
pytest.importorskip("dask")
pytest.importorskip("cftime")

import zarr
from xarray.tests import test_backends
from xarray.tests.conftest import time_unit, use_dask  # noqa: F401

import icechunk_core as ic

pytestmark = [
    pytest.mark.slow,
    # zarr's own about data types that its format has no final word on, as with any store.
    pytest.mark.filterwarnings("ignore:.*does not have a Zarr V3 specification"),
]


@pytest.fixture
def default_zarr_format() -> Iterator[None]:
    """Format 3, in place of xarray's fixture."""
    with zarr.config.set(default_zarr_format=3):
        yield


class OnSessions(test_backends.ZarrBase):
    """xarray's class with our store as the target."""

    forked = False

    def repository(self) -> ic.Repository:
        """A new repository."""
        raise NotImplementedError

    @contextlib.contextmanager
    def create_zarr_target(self) -> Iterator[Any]:
        """The store of a writable session."""
        session = self.repository().writable_session("main")
        yield (session.fork() if self.forked else session).store

    def _instead_of_files(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(test_backends, "create_tmp_file", lambda **_: self.create_zarr_target())

    def test_append_write(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """One variable after the other."""
        self._instead_of_files(monkeypatch)
        super().test_append_write()

    def test_append_overwrite_values(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Values are replaced, variables added."""
        self._instead_of_files(monkeypatch)
        super().test_append_overwrite_values()

    def test_pickle(self) -> None:
        """Datasets on the store of a fork pickle."""
        self.forked = True
        super().test_pickle()

    def test_pickle_dataarray(self) -> None:
        """Arrays on the store of a fork pickle."""
        self.forked = True
        super().test_pickle_dataarray()


class TestInMemory(OnSessions):
    """On a storage that never waits."""

    def repository(self) -> ic.Repository:
        return ic.Repository.create(ic.in_memory_storage())


class TestOnFilesystem(OnSessions):
    """On a directory."""

    folder: Path

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path_factory: pytest.TempPathFactory) -> None:
        self.factory = tmp_path_factory

    def repository(self) -> ic.Repository:
        return ic.Repository.create(ic.local_filesystem_storage(self.factory.mktemp("repo"), durable=False))
