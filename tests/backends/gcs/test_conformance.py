"""The suite by the other ways of sending and reading; elsewhere all of it runs by the usual ones."""

from __future__ import annotations

import pickle

import pytest

from icechunk_conformance import Location, run_suite
from icechunk_core.contract import Storage
from tests.servers.gcs import GcsServer

GROUPS = ("E", "G", "H")


class Reopen:
    """Opens an independent client of a storage."""

    def __init__(self, storage: Storage) -> None:
        self.pickled = pickle.dumps(storage)

    def __call__(self) -> Storage:
        """A new one."""
        storage: Storage = pickle.loads(self.pickled)
        return storage


@pytest.mark.slow
def test_googles_session_keeps_the_same_promises(fake_gcs: GcsServer) -> None:
    """Conditions, lost answers and faults of the transport, in worker threads."""
    token = "a-token-that-must-not-show"
    storage = fake_gcs.storage(fake_gcs.new_bucket(), "p", lean=False, anonymous=False, bearer_token=token)
    report = run_suite(Location(Reopen(storage), secrets=(token,)), only=GROUPS)
    assert [(result.check.id, result.message) for result in report.failures] == []


@pytest.mark.slow
def test_reads_by_xml_keep_the_same_promises(fake_gcs: GcsServer) -> None:
    """Basics, ranges and keys, by the protocol that Google is read by (fake-gcs-server knows it by its
    own host name only, which rules out the faulting proxy)."""
    storage = fake_gcs.storage(fake_gcs.new_bucket(), "p", reads="xml")
    report = run_suite(Location(Reopen(storage)), only=("A", "B", "C", "E"))
    assert [(result.check.id, result.message) for result in report.failures] == []
