"""How the suite leads a storage through its proxy."""

from __future__ import annotations

import pytest
from attrs import field, frozen

from icechunk_conformance import Location
from icechunk_conformance.endpoints import endpoint_of, large_from, rerouted
from icechunk_conformance.reference import ReferenceStorage
from icechunk_conformance.reference_http import HttpReference
from icechunk_conformance.transport import Transport


@frozen
class Inner:
    server: str = field(metadata={"endpoint": True})
    wait: int = field(default=30, metadata={"timeout": True})


@frozen
class Marked:
    """A configuration whose fields are marked, and nested."""

    inner: Inner
    plain: bool = field(default=False, metadata={"allow_http": True})
    parts: int = field(default=8, metadata={"large_from": True})
    endpoint_url: str = field(default="http://not-this-one", metadata={"endpoint": False})


@frozen
class Usual:
    """A configuration with the usual names and no marks."""

    endpoint_url: str | None = None
    allow_http: bool = False
    read_timeout: float | None = None
    multipart_threshold: int = 9


def test_marked_fields() -> None:
    """Fields marked by metadata are found, in nested configurations too; the rest stays."""
    config = Marked(Inner("https://server:9000/base"))
    assert endpoint_of(config) == "https://server:9000/base"
    assert large_from(config) == 8
    changed = rerouted(config, "http://127.0.0.1:1/base", patience=2)
    assert changed == Marked(Inner("http://127.0.0.1:1/base", 2), True)


def test_usual_names() -> None:
    """Without marks the usual names are taken; an endpoint that is not set is none."""
    assert endpoint_of(Usual()) is None
    assert endpoint_of(Usual("http://localhost:1")) == "http://localhost:1"
    changed = rerouted(Usual("http://localhost:1"), "http://127.0.0.1:2", patience=1.5)
    assert changed == Usual("http://127.0.0.1:2", True, 1.5)
    assert rerouted(Usual("http://localhost:1"), "http://127.0.0.1:2").read_timeout is None
    assert large_from(Usual()) == 9


@pytest.mark.parametrize("config", [None, "text", 5])
def test_what_is_no_configuration(config: object) -> None:
    """Storages without a configuration have no endpoint."""
    assert endpoint_of(config) is None
    assert large_from(config) == 0


async def test_a_rerouted_storage_reaches_the_same_objects() -> None:
    """What is written through the proxy is read without it."""
    location = Location(HttpReference.opener())
    assert location.transport is Transport.PROXIED
    target = location.target("x")
    wire = await target.wire()
    await wire.client.put("key", b"value")
    assert bytes((await (await target.client()).get_range("key"))[0]) == b"value"
    assert [method for method, _ in wire.proxy.requests] == ["PUT"]
    await target.close()


def test_transports() -> None:
    """A storage in this machine has no transport; one that anybody shares has, in reach or not."""
    assert Location(ReferenceStorage.opener()).transport is Transport.NONE
    opener = HttpReference.opener()
    location = Location(opener)
    location.endpoint = None
    assert location.transport is Transport.OUT_OF_REACH
