"""The faulting proxy: it passes bytes on unchanged, injects what it was told to, and counts it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from icechunk_conformance import Location, wire_faults
from icechunk_conformance.expect import Failure
from icechunk_conformance.injection import Moment, WireFaults
from icechunk_conformance.proxy import FaultProxy, WireFault
from icechunk_conformance.reference_http import HttpReference
from icechunk_conformance.reference_server import ObjectServer
from icechunk_conformance.wire import Message
from icechunk_core.contract import IF_ABSENT, Storage
from icechunk_core.errors import AlreadyExists, Timeout, Unavailable


@pytest.fixture
def server() -> Iterator[ObjectServer]:
    """An object server of its own."""
    server = ObjectServer()
    yield server
    server.stop()


@pytest.fixture
def proxy(server: ObjectServer) -> Iterator[FaultProxy]:
    """A proxy in front of it."""
    proxy = FaultProxy(server.url).start()
    yield proxy
    proxy.stop()


async def talk(url: str, data: bytes) -> bytes:
    """Everything that comes back for these bytes."""
    host, _, port = url.removeprefix("http://").partition("/")[0].partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(data)
    writer.write_eof()
    try:
        return await reader.read()
    finally:
        writer.close()


def everything(request: Message) -> bool:
    return True


PUT = b"PUT /a HTTP/1.1\r\nHost: signed.example\r\nContent-Length: 4\r\nX-Meta-b: c\r\n\r\nbody"
CHUNKED = b"PUT /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n"
GET = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"


async def test_bytes_pass_unchanged(server: ObjectServer, proxy: FaultProxy) -> None:
    """Through the proxy the server says what it says without it; the Host header is the client's."""
    seen: list[bytes] = []
    store = server.store

    def remember(request: Message) -> bytes:
        seen.append(request.raw)
        return store(request)

    server.store = remember  # type: ignore[method-assign]
    await talk(proxy.url, PUT)
    await talk(proxy.url, CHUNKED)
    assert seen == [PUT, CHUNKED]
    assert await talk(proxy.url, GET) == await talk(server.url, GET)
    assert proxy.requests == [("PUT", "/a"), ("PUT", "/a"), ("GET", "/a")]


async def test_many_requests_of_one_connection(proxy: FaultProxy) -> None:
    """A connection is kept for as many requests as the client makes, ``Expect: 100-continue`` included."""
    expecting = PUT.replace(b"X-Meta-b: c", b"Expect: 100-continue")
    answers = await talk(proxy.url, PUT + expecting + GET)
    assert answers.count(b"HTTP/1.1 200") == 3
    assert answers.count(b"HTTP/1.1 100") == 1


async def test_faults_are_counted(proxy: FaultProxy) -> None:
    """A fault strikes as often as it is told to, those requests that match, in the order of the script."""
    fault = proxy.strike(
        WireFault(wire_faults.refused_with(503, 7), lambda request: request.method == "GET", times=2)
    )
    answers = [await talk(proxy.url, request) for request in (PUT, GET, GET, GET)]
    assert [answer.split(b" ")[1] for answer in answers] == [b"200", b"503", b"503", b"200"]
    assert b"Retry-After: 7" in answers[1]
    assert fault.struck == 2


async def test_an_unreachable_server_is_said(proxy: FaultProxy, server: ObjectServer) -> None:
    """Without a server behind it the proxy says so, instead of inventing an answer."""
    server.stop()
    assert b"cannot reach" in await talk(proxy.url, GET)


# --- every action -----------------------------------------------------------------


@pytest.fixture
async def wire() -> Iterator[WireFaults]:
    """The reference client by way of a proxy, with one attempt at each request."""
    location = Location(HttpReference.opener())
    location.budget = type(location.budget)(
        "test", 1000, 10, 2, 2, 4, 2, timeout=20.0, patience=0.2, programs=1, commits=1
    )
    target = location.target("x")
    yield await target.wire(impatient=True)
    await target.close()


@pytest.mark.parametrize(
    ("action", "error", "landed"),
    [
        (wire_faults.request_lost, Unavailable, False),
        (wire_faults.answer_lost, Unavailable, True),
        (wire_faults.refused_with(503), Unavailable, False),
        (wire_faults.answer_is_error(503), Unavailable, True),
        (wire_faults.refused_with(408), Timeout, False),
        (wire_faults.no_answer, Timeout, True),
        (wire_faults.cut_upload, Unavailable, False),
        (wire_faults.arrives_late, Unavailable, False),
    ],
)
async def test_what_an_action_does(
    wire: WireFaults, action: object, error: type[Exception], landed: bool
) -> None:
    """The client gets that error, and the server has acted or has not."""
    wire.inject(action, lambda request: request.method == "PUT", times=None)  # type: ignore[arg-type]
    with pytest.raises(error):
        await wire.client.put("key", b"x" * 5000)
    assert await wire.client.exists("key") is landed


async def test_a_repeated_request_is_refused_by_itself(wire: WireFaults) -> None:
    """The first one lands, the second one's refusal is what the client gets."""
    wire.strike(Moment.REPEATED, "key")
    with pytest.raises(AlreadyExists):
        await wire.client.put("key", b"mine", IF_ABSENT)
    wire.verify_struck()
    assert bytes((await wire.client.get_range("key"))[0]) == b"mine"


async def test_what_is_late_lands_when_it_is_released(wire: WireFaults) -> None:
    """Held requests reach the server in their order, with their conditions."""
    wire.strike(Moment.LATE, "key", times=None)
    with pytest.raises(Unavailable):
        await wire.client.put("key", b"late", IF_ABSENT)
    assert not await wire.client.exists("key")
    assert await wire.proxy.release() == [200, 412, 412]
    assert bytes((await wire.client.get_range("key"))[0]) == b"late"


async def test_meanwhile_happens_between_the_act_and_the_answer(wire: WireFaults) -> None:
    """What is planned for that moment sees the write, and the client has not heard of it."""
    seen: list[bytes] = []

    async def look() -> None:
        seen.append(bytes((await wire.client.get_range("key"))[0]))

    wire.strike(Moment.ANSWER_LOST, "key", meanwhile=look)
    await wire.client.put("key", b"there")
    assert seen == [b"there"]


async def test_a_fault_that_did_not_happen_is_a_failure(wire: WireFaults) -> None:
    """A check whose fault did not strike has shown nothing."""
    wire.strike(Moment.ANSWER_LOST, "another key")
    await wire.client.put("key", b"x")
    with pytest.raises(Failure, match="did not happen"):
        wire.verify_struck()


async def test_the_gate_lets_requests_go_together(wire: WireFaults) -> None:
    """Requests wait for one another; fewer than expected go on after a moment."""
    gate = wire_faults.Gate(3, patience=0.05)
    wire.inject(gate, lambda request: request.method == "PUT", times=None)
    await asyncio.gather(*(wire.client.put(f"key-{number}", b"x") for number in range(3)))
    assert gate.together == 3
    await wire.client.put("alone", b"x")
    keys = [info.key async for info in wire.client.list()]
    assert keys == ["alone", "key-0", "key-1", "key-2"]


async def test_reads_are_cut(wire: WireFaults) -> None:
    """Half a body and a wrong length are errors for an honest client; a trickle is not."""
    await wire.client.put("key", b"0123456789" * 100)
    for action in (wire_faults.half_body, wire_faults.length_too_large, wire_faults.stalled_body):
        fault = wire.inject(action, everything, times=None)
        with pytest.raises((Unavailable, Timeout)):
            await _get(wire.client)
        fault.times = 0


async def _get(client: Storage) -> bytes:
    return bytes((await client.get_range("key"))[0])
