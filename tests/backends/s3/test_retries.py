"""What is repeated, how often, and what a refusal after a lost answer means."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from icechunk_core.contract import ALWAYS, IF_ABSENT, Condition, IfVersion, RetryPolicy, Version
from icechunk_core.contract.errors import OutcomeUnknown, StorageError, Timeout, Unavailable, VersionMismatch
from icechunk_s3._client import combined_etag
from icechunk_s3._errors import Failure, Where
from icechunk_s3._retry import Retries
from tests.backends.s3.scripted import WRITTEN, Answer, error, found, reopened, scripted

LEAN = pytest.mark.parametrize("lean", [True, False], ids=["lean", "sdk"])
CUT = Answer(cut=True)
EXISTS = error(412, "PreconditionFailed")


async def test_a_refusal_after_a_lost_answer_is_unknown() -> None:
    """The first try of a conditional write got no answer, the second is refused: it may have been ours."""
    for condition in (IF_ABSENT, IfVersion(Version("e"))):
        async with scripted(CUT, EXISTS) as server:
            storage = server.storage()
            with pytest.raises(OutcomeUnknown, match="may have been carried out"):
                await storage.put("key", b"x", condition)
            await storage.close()
        assert len(server.asked) == 2


async def test_a_refusal_after_a_servers_failure_is_unknown() -> None:
    """The same where the server failed inside, which says nothing about the write."""
    async with scripted(error(500, "InternalError"), EXISTS) as server:
        storage = server.storage()
        with pytest.raises(OutcomeUnknown):
            await storage.put("key", b"x", IF_ABSENT)
        await storage.close()


@LEAN
@pytest.mark.parametrize("first", [error(503, "SlowDown"), error(409, "ConditionalRequestConflict")])
async def test_a_refusal_after_a_rejection_is_a_refusal(lean: bool, first: Answer) -> None:
    """What the server said it had not done leaves no doubt."""
    async with scripted(first, EXISTS) as server:
        storage = server.storage(lean=lean)
        with pytest.raises(VersionMismatch):
            await storage.put("key", b"x", IfVersion(Version("e")))
        await storage.close()
    assert len(server.asked) == 2


@LEAN
async def test_lost_answers_are_repeated(lean: bool) -> None:
    """A read and a plain write whose connection breaks are sent again."""
    async with scripted(CUT, found(b"x")) as server:
        storage = server.storage(lean=lean)
        assert bytes((await storage.get_range("key"))[0]) == b"x"
        server.answers[:] = [CUT, WRITTEN]
        assert await storage.put("key", b"x") == Version("fedcba9876543210")
        await storage.close()


async def test_nobody_else_repeats() -> None:
    """On the lean path one try is one request: aiohttp does not repeat a put by itself."""
    async with scripted(found(b"x"), CUT) as server:
        storage = server.storage(max_attempts=1)
        await storage.get_range("key")  # leaves a connection in the pool, on which aiohttp would repeat
        with pytest.raises(Unavailable, match="connection broke"):
            await storage.put("key", b"x")
        await storage.close()
    assert [asked.method for asked in server.asked] == ["GET", "PUT"]


@LEAN
async def test_silence_is_a_timeout(lean: bool) -> None:
    """A server that takes the request and says nothing is given up after the configured time."""
    release = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await release.wait()
        writer.close()

    silence = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = silence.sockets[0].getsockname()[1]
    async with scripted() as server:
        patient = server.storage(lean=lean, endpoint_url=f"http://127.0.0.1:{port}")
        storage = reopened(patient, network_stream_timeout_seconds=0.2, deadline=0.2)
        with pytest.raises(Timeout, match="did not answer in time"):
            await storage.get_range("key")
        await storage.close()
    release.set()
    silence.close()
    await silence.wait_closed()


CREATED = Answer(
    200, b"<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>"
)
GONE = error(404, "NoSuchUpload")


@pytest.mark.parametrize("condition", [ALWAYS, IF_ABSENT, IfVersion(Version("e"))])
@pytest.mark.parametrize("ours", [True, False])
async def test_a_lost_completion_of_an_upload(condition: Condition, ours: bool) -> None:
    """Where the parts were put together and the answer got lost, the object's ETag tells that it was us;
    otherwise the outcome is unknown."""
    expected = combined_etag([{"ETag": '"fedcba9876543210"'}] * 2)
    about = Answer(200, b"", {"etag": f'"{expected if ours else "other"}"', "content-length": "1"})
    async with scripted(CREATED, WRITTEN, WRITTEN, CUT, GONE, about) as server:
        patient = server.storage()
        storage = reopened(patient, multipart_threshold=5 << 20, multipart_part_size=5 << 20)
        body = bytes((5 << 20) + 1)
        if ours:
            assert await storage.put("key", body, condition) == Version(str(expected))
        else:
            with pytest.raises(OutcomeUnknown, match="2 parts were put together"):
                await storage.put("key", body, condition)
        await storage.close()
        await patient.close()
    methods = [asked.method for asked in server.asked]
    assert methods == ["POST", "PUT", "PUT", "POST", "POST", "HEAD"]  # nothing is aborted: it may have landed


# --- the policy ----------------------------------------------------------------


class Steps:
    """A clock that stands still unless it is moved, and jitter that is always the most."""

    def __init__(self) -> None:
        self.now = 0.0

    def now_us(self) -> int:
        return 0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        raise AssertionError("nothing blocks here")

    def uniform(self) -> float:
        return 1.0

    def object_id(self) -> bytes:
        return b""

    node_id = object_id

    def write_id(self) -> str:
        return ""


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> tuple[Steps, list[float]]:
    """A clock that moves only while retries wait, and how long they did."""
    steps, waited = Steps(), []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)
        steps.now += seconds

    monkeypatch.setattr("icechunk_s3._retry.asyncio.sleep", sleep)
    return steps, waited


def _failing(failure: Failure, monkeypatch: pytest.MonkeyPatch) -> Callable[[], object]:
    monkeypatch.setattr("icechunk_s3._retry.failure_of", lambda *_: failure)

    async def request() -> None:
        raise RuntimeError

    return request


async def _no() -> bool:
    return False


@pytest.mark.parametrize(
    ("failure", "policy", "expected"),
    [
        (
            Failure(Unavailable(), retry=True),
            RetryPolicy(8, deadline=100),
            [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0],
        ),
        (Failure(Unavailable(), retry=True), RetryPolicy(99, deadline=3), [0.1, 0.2, 0.4, 0.8]),
        (Failure(Unavailable(), retry=True, retry_after=2.5), RetryPolicy(3, deadline=100), [2.6, 2.7]),
        (Failure(Unavailable(), retry=True, retry_after=900), RetryPolicy(3, deadline=100), []),
        (Failure(Unavailable(), retry=True, at_once=True), RetryPolicy(3, deadline=100), [0.0, 0.2]),
        (Failure(Unavailable(), retry=True, unreachable=True), RetryPolicy(9, deadline=100), [0.1, 0.2]),
        (Failure(StorageError()), RetryPolicy(9, deadline=100), []),
    ],
    ids=["grows", "deadline", "retry-after", "too-long-after", "at-once", "unreachable", "final"],
)
async def test_waits(
    waits: tuple[Steps, list[float]],
    monkeypatch: pytest.MonkeyPatch,
    failure: Failure,
    policy: RetryPolicy,
    expected: list[float],
) -> None:
    """Waits grow up to a limit, obey the server, and end at the deadline or the number of tries."""
    steps, waited = waits
    retries = Retries(policy, steps, steps, _no)
    with pytest.raises(StorageError):
        await retries.run(_failing(failure, monkeypatch), Where("here"))  # type: ignore[arg-type]
    assert waited == pytest.approx(expected)


async def test_a_completion_without_an_etag() -> None:
    """Ceph answers the completion of an upload without the ETag: it follows from those of the parts."""
    done = Answer(200, b"<CompleteMultipartUploadResult><ETag></ETag></CompleteMultipartUploadResult>")
    async with scripted(CREATED, WRITTEN, WRITTEN, done) as server:
        patient = server.storage()
        storage = reopened(patient, multipart_threshold=5 << 20, multipart_part_size=5 << 20)
        expected = combined_etag([{"ETag": '"fedcba9876543210"'}] * 2)
        assert await storage.put("key", bytes((5 << 20) + 1)) == Version(str(expected))
        await storage.close()
        await patient.close()


@LEAN
async def test_cephs_losers_of_a_race_try_again(lean: bool) -> None:
    """Ceph answers who lost a race with an UnknownError; that nothing was written is certain then."""
    async with scripted(error(500, "UnknownError"), error(412, "PreconditionFailed")) as server:
        storage = server.storage(lean=lean)
        with pytest.raises(VersionMismatch):
            await storage.put("key", b"x", IfVersion(Version("e")))
        await storage.close()
    assert len(server.asked) == 2
