"""What is sent, and what is made of the answers: against a service that answers as a script says."""

from __future__ import annotations

import asyncio
import gc
import hmac
import logging
import warnings
from typing import Any

import pytest

from icechunk_core.contract import ALWAYS, IF_ABSENT, IfVersion, Range, Storage, Suffix, Version
from icechunk_core.contract.errors import (
    AlreadyExists,
    Closed,
    NotFound,
    PermissionDenied,
    RateLimited,
    ReadOnly,
    StorageConfigError,
    StorageError,
    Timeout,
    Unauthenticated,
    Unavailable,
    Unsupported,
    VersionMismatch,
)
from tests.backends.azure.scripted import CREATED, KEY, Answer, ScriptedService, found

BUSY = Answer(503, "ServerBusy")


async def _raised(operation: Any) -> StorageError:
    with pytest.raises(StorageError) as caught:
        await operation
    return caught.value


@pytest.mark.parametrize(
    ("answer", "error", "says"),
    [
        (Answer(404, "BlobNotFound"), NotFound, "no such object"),
        (Answer(404, "ContainerNotFound"), StorageConfigError, "no such container"),
        (Answer(404, "ResourceNotFound"), NotFound, "may not be read"),
        (Answer(403, "AuthenticationFailed"), Unauthenticated, "refused the credential"),
        (Answer(401, "NoAuthenticationInformation"), Unauthenticated, "wants a credential"),
        (Answer(403, "AuthorizationPermissionMismatch"), PermissionDenied, "does not allow"),
        (Answer(403, "AuthorizationResourceTypeMismatch"), PermissionDenied, "resource types"),
        (Answer(409, "PublicAccessNotPermitted"), Unauthenticated, "no anonymous reading"),
        (Answer(409, "BlobArchived"), Unsupported, "rehydrate"),
        (Answer(403), PermissionDenied, "refused"),
        (Answer(400, "SomethingNew"), StorageError, "400 SomethingNew"),
    ],
)
async def test_refusals_are_named(
    service: ScriptedService, lean: bool, answer: Answer, error: type[StorageError], says: str
) -> None:
    """Each refusal is the contract's error for it, says what to check, and is not repeated."""
    storage = service.storage(lean=lean)
    service.answers(answer)
    refused = await _raised(storage.get_range("a"))
    assert type(refused) is error
    assert says in refused.message
    assert "container 'box' of account 'acc'" in refused.message
    assert len(service.asked) == 1
    await storage.close()


async def test_what_is_retried(service: ScriptedService, lean: bool) -> None:
    """A service that is busy, fails inside, or hangs up is asked again; the answer is then as always."""
    storage = service.storage(lean=lean)
    for trouble in (BUSY, Answer(429), Answer(500, "InternalError"), Answer(500, "OperationTimedOut")):
        service.answers(trouble, Answer(502), found(b"body"))
        data, info = await storage.get_range("a")
        assert (bytes(data), info.size) == (b"body", 4)
        assert len(service.asked) == 3
    service.answers(Answer(500, drop=True), Answer(500, drop=True), found(b"body"))
    assert bytes((await storage.get_range("a"))[0]) == b"body"
    await storage.close()


async def test_who_asks_to_slow_down_is_reachable(service: ScriptedService, lean: bool) -> None:
    """A bare 429 is waited out with all tries, not with the few for a service that cannot be reached."""
    storage = service.storage(lean=lean)
    service.answers(*[Answer(429)] * 4, found(b"body"))
    assert bytes((await storage.get_range("a"))[0]) == b"body"
    assert len(service.asked) == 5
    await storage.close()


async def test_tries_are_limited(service: ScriptedService, lean: bool) -> None:
    """A service that stays busy is given up after the configured number of tries."""
    storage = service.storage(lean=lean, max_attempts=3)
    service.answers(BUSY)
    assert type(await _raised(storage.head("a"))) in (RateLimited, Unavailable)
    assert len(service.asked) == 3
    await storage.close()


async def test_retry_after_beyond_the_deadline(service: ScriptedService) -> None:
    """Told to wait longer than the deadline, the storage says so at once."""
    storage = service.storage(deadline=5)
    service.answers(Answer(503, "ServerBusy", headers={"Retry-After": "60"}))
    assert type(await _raised(storage.head("a"))) is RateLimited
    assert len(service.asked) == 1
    await storage.close()


@pytest.mark.parametrize("condition", [IF_ABSENT, IfVersion(Version("0x1"))])
async def test_conditional_puts_are_not_sent_again_after_doubt(
    service: ScriptedService, lean: bool, condition: Any
) -> None:
    """After an answer that leaves open whether a conditional put landed, it is reported and not repeated:
    the second attempt would fail on the first one's success. Where the service surely did nothing, it is."""
    storage = service.storage(lean=lean)
    service.answers(Answer(500, "InternalError"), CREATED)
    assert type(await _raised(storage.put("a", b"x", condition))) is Unavailable
    assert len(service.asked) == 1
    service.answers(Answer(500, "OperationTimedOut"), CREATED)
    assert type(await _raised(storage.put("a", b"x", condition))) is Timeout
    service.answers(BUSY, CREATED)
    assert (await storage.put("a", b"x", condition)).token == "0x2"
    assert len(service.asked) == 2
    await storage.close()


async def test_conditions_as_sent(service: ScriptedService, lean: bool) -> None:
    """``IfAbsent`` and ``IfVersion`` are the service's own conditions; a plain put has none."""
    storage = service.storage(lean=lean)
    for condition, sent in (
        (ALWAYS, (None, None)),
        (IF_ABSENT, ("*", None)),
        (IfVersion(Version("0x1")), (None, '"0x1"')),
    ):
        service.answers(CREATED)
        await storage.put("a", b"x", condition)
        headers = service.asked[0].headers
        assert (headers.get("if-none-match"), headers.get("if-match")) == sent
    for token in ("", 'a"b', "a\nb", "ü"):
        service.answers(CREATED)
        assert type(await _raised(storage.put("a", b"x", IfVersion(Version(token))))) is VersionMismatch
        assert not service.asked
    await storage.close()


async def test_a_version_is_no_wildcard(service: ScriptedService, lean: bool) -> None:
    """A version ``*`` is compared as an ETag; it does not match every object."""
    storage = service.storage(lean=lean)
    service.answers(Answer(412, "ConditionNotMet"))
    assert type(await _raised(storage.put("a", b"x", IfVersion(Version("*"))))) is VersionMismatch
    assert service.asked[0].headers["if-match"] == '"*"'
    service.answers(Answer(412, "ConditionNotMet"))
    assert type(await _raised(storage.put("a", b"x", IF_ABSENT))) is AlreadyExists
    await storage.close()


async def test_an_empty_object_is_one_request(service: ScriptedService) -> None:
    """Reading an object whole is one request, also where it is empty."""
    storage = service.storage()
    service.answers(found(b""))
    data, info = await storage.get_range("a")
    assert (bytes(data), info.size, len(service.asked)) == (b"", 0, 1)
    await storage.close()


async def test_a_suffix_is_of_one_version(service: ScriptedService, lean: bool) -> None:
    """A suffix asks for the size, and insists on that version; replaced meanwhile, it is read whole."""
    storage = service.storage(lean=lean)
    service.answers(found(b"abcd", "0x1"))
    assert bytes((await storage.get_range("a", Suffix(2)))[0]) == b"cd"
    assert [each.method for each in service.asked] == ["HEAD", "GET"]
    assert service.asked[1].headers["if-match"] == '"0x1"'
    service.answers(found(b"abcd", "0x1"), Answer(412, "ConditionNotMet"), found(b"efghij", "0x2"))
    data, info = await storage.get_range("a", Suffix(3))
    assert (bytes(data), info.version) == (b"hij", Version("0x2"))
    await storage.close()


async def test_a_short_answer_is_no_data(service: ScriptedService) -> None:
    """An answer with fewer bytes than the range has is an error, not data."""
    storage = service.storage()
    service.answers(Answer(206, headers={**found().headers, "Content-Range": "bytes 0-9/20"}, body=b"abc"))
    assert type(await _raised(storage.get_range("a", Range(0, 10)))) is Unavailable
    await storage.close()


async def test_what_a_put_carries(service: ScriptedService, lean: bool) -> None:
    """Metadata under legal names, content type and access tier are sent along."""
    storage = service.storage(lean=lean, storage_class="Hot")
    service.answers(CREATED)
    await storage.put("a", b"x", ALWAYS, {"write-id": "1", "2nd": " "}, "text/plain", "Cool")
    headers = service.asked[0].headers
    assert headers["x-ms-meta-write__id"] == "1"
    assert headers["x-ms-meta-_2nd"] == "base64:IA=="
    assert headers["x-ms-blob-content-type"] == "text/plain"
    assert headers["x-ms-access-tier"] == "Cool"
    service.answers(CREATED)
    await storage.put("a", b"x")
    assert service.asked[0].headers["x-ms-access-tier"] == "Hot"
    error = await _raised(storage.put("a", b"x", storage_class="STANDARD_IA"))
    assert type(error) is Unsupported
    assert "Hot, Cool, Cold" in error.message
    assert len(service.asked) == 1
    await storage.close()


async def test_discarded_blocks_are_sent_again(service: ScriptedService) -> None:
    """When another write of the object discarded the staged blocks, all are staged anew, and the condition
    decides on the new commit."""
    storage = service.storage(single_put=4, block_size=4)
    staged = Answer(201)
    service.answers(staged, staged, Answer(400, "InvalidBlockList"), staged, staged, CREATED)
    assert (await storage.put("a", b"abcdefgh", IF_ABSENT)).token == "0x2"
    commits = [each for each in service.asked if each.query["comp"] == "blocklist"]
    assert len(commits) == 2
    assert all(each.headers["if-none-match"] == "*" for each in commits)
    assert commits[0].body != commits[1].body
    blocks = [each.body for each in service.asked if each.query["comp"] == "block"]
    assert sorted(blocks) == [b"abcd", b"abcd", b"efgh", b"efgh"]
    await storage.close()


async def test_delete_answers_for_each(service: ScriptedService, lean: bool) -> None:
    """A key that cannot be deleted has its own error; the others are gone."""
    storage = service.storage(lean=lean)
    service.answers(Answer(202), Answer(404, "BlobNotFound"), Answer(403, "AuthorizationFailure"))
    results = await storage.delete(["a", "b", "c", "../d", "a"])
    assert [result.key for result in results] == ["a", "b", "c", "../d", "a"]
    kinds = sorted(type(result.error).__name__ for result in results)
    assert kinds == ["InvalidKey", "NoneType", "NoneType", "NoneType", "PermissionDenied"]
    assert len(service.asked) == 3
    await storage.close()


async def test_folders_are_no_objects(service: ScriptedService, lean: bool) -> None:
    """In an account with a hierarchical namespace, folders are not listed, and not found."""
    storage = service.storage(lean=lean, hierarchical=True)
    assert not storage.capabilities.ordered_list
    blob = (
        "<Blob><Name>pre/{name}</Name><Properties><Etag>0x1</Etag><BlobType>BlockBlob</BlobType>"
        "<Last-Modified>Mon, 23 Nov 2026 12:00:00 GMT</Last-Modified><Content-Length>0</Content-Length>"
        "</Properties><Metadata>{metadata}</Metadata></Blob>"
    )
    folder = blob.format(name="a", metadata="<hdi_isfolder>true</hdi_isfolder>")
    blobs = folder + blob.format(name="a/b", metadata="")
    body = (
        '<?xml version="1.0" encoding="utf-8"?><EnumerationResults ContainerName="box">'
        f"<Blobs>{blobs}</Blobs><NextMarker/></EnumerationResults>"
    )
    service.answers(Answer(200, headers={"Content-Type": "application/xml"}, body=body.encode()))
    assert [info.key async for info in storage.list()] == ["a/b"]
    assert service.asked[0].query["include"] == "metadata"
    service.answers(found(b"x", **{"x-ms-meta-hdi_isfolder": "true"}))
    assert type(await _raised(storage.head("a"))) is NotFound
    await storage.close()


# --- credentials -------------------------------------------------------------


def _expected_signature(service: ScriptedService) -> str:
    """Shared Key, computed a second time, from the description of the service."""
    import base64

    asked = service.asked[0]
    get = asked.headers.get
    length = get("content-length", "0")
    lines = [asked.method, "", "", "" if length == "0" else length, "", get("content-type", ""), "", ""]
    lines += [get("if-match", ""), get("if-none-match", ""), "", ""]
    signed = sorted(name for name in asked.headers if name.startswith("x-ms-"))
    lines += [f"{name}:{asked.headers[name]}" for name in signed]
    lines.append("/acc" + asked.path.partition("?")[0])
    digest = hmac.digest(base64.b64decode(KEY), "\n".join(lines).encode(), "sha256")
    return f"SharedKey acc:{base64.b64encode(digest).decode()}"


async def test_shared_key(service: ScriptedService, lean: bool) -> None:
    """Requests are signed with the account's key, odd characters of names included, the same on both ways."""
    storage = service.storage(lean=lean)
    service.answers(CREATED)
    await storage.put("a b/ü%2F+?#&=~!$'(", b"body", IF_ABSENT, {"icechunkwriteid": "1"})
    assert service.asked[0].headers["authorization"] == _expected_signature(service)
    service.answers(found())
    await storage.get_range("a b/ü", None, Version("0x1"))
    assert service.asked[0].headers["authorization"] == _expected_signature(service)
    await storage.close()


async def test_sas_tokens(service: ScriptedService, lean: bool, caplog: pytest.LogCaptureFixture) -> None:
    """A SAS token goes into the query and nowhere else: not into errors, their causes, or logs."""
    caplog.set_level(logging.DEBUG)
    token = "?sv=2023-11-03&se=2026-12-31T00%3A00Z&sig=c2VjcmV0%2Fsignature%3D"
    storage = service.storage(lean=lean, sas_token=token, max_attempts=2)
    service.answers(Answer(403, "AuthenticationFailed"))
    error = await _raised(storage.get_range("a"))
    assert service.asked[0].query["sig"] == "c2VjcmV0/signature="
    assert "authorization" not in service.asked[0].headers
    assert "valid until 2026-12-31T00:00Z" in error.message
    service.answers(Answer(500, drop=True))
    dropped = await _raised(storage.put("a", b"x"))
    await storage.close()
    for text in (*_texts(error), *_texts(dropped), repr(storage), caplog.text):
        assert "c2VjcmV0" not in text


def _texts(error: BaseException) -> list[str]:
    import traceback

    return [str(error), repr(error), "".join(traceback.format_exception(error))]


async def test_anonymous(service: ScriptedService, lean: bool) -> None:
    """Anonymous requests carry no credential, and a refusal says that there was none."""
    storage = service.storage(lean=lean, anonymous=True)
    service.answers(Answer(409, "PublicAccessNotPermitted"))
    assert "anonymous access" in (await _raised(storage.get_range("a"))).message
    assert "authorization" not in service.asked[0].headers
    await storage.close()


async def test_a_wrong_clock_is_noticed(service: ScriptedService, lean: bool) -> None:
    """Where a signature is refused and this machine's clock is far from the service's, the error says so."""
    storage = service.storage(lean=lean)
    service.answers(Answer(403, "AuthenticationFailed", headers={"Date": "Mon, 01 Jan 2024 00:00:00 GMT"}))
    assert "minutes ahead of the service's: set it" in (await _raised(storage.head("a"))).message
    await storage.close()


async def test_unreachable_hosts() -> None:
    """A refused connection, and a host that does not exist, are errors within seconds that say what to
    check."""
    from icechunk_core.storage import storage_from_url
    from tests.servers.process import free_port

    refused = storage_from_url(
        "az://box/p", account="acc", access_key=KEY, endpoint_url=f"http://127.0.0.1:{free_port()}/acc"
    )
    error = await _raised(refused.get_range("a"))
    assert type(error) is Unavailable
    assert "check the endpoint" in error.message
    await refused.close()
    unknown = storage_from_url(
        "az://box/p", account="acc", access_key=KEY, endpoint_url="https://no-such-host.invalid/acc"
    )
    error = await _raised(unknown.head("a"))
    assert type(error) in (Unavailable, Timeout)
    assert "no-such-host.invalid" in error.message
    await unknown.close()


# --- life --------------------------------------------------------------------


def _use(storage: Storage) -> None:
    async def main() -> None:
        await storage.get_range("a")

    asyncio.run(main())


async def test_nothing_is_left_open(service: ScriptedService, lean: bool) -> None:
    """Connections end with the event loop they were made in, with the storage, and with a storage that is
    dropped without being closed: no warning, no message, nothing for the garbage collector."""
    problems: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: problems.append(context))
    service.answers(found())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        storage = service.storage(lean=lean)
        for _ in range(2):
            await asyncio.to_thread(_use, storage)
        await storage.get_range("a")
        await storage.close()
        await storage.close()
        dropped = service.storage(lean=lean)
        await dropped.get_range("a")
        del dropped, storage
        gc.collect()
        for _ in range(20):
            await asyncio.sleep(0)
        gc.collect()
    assert [str(each.message) for each in caught if each.category is ResourceWarning] == []
    assert problems == []


async def test_closed_and_read_only(service: ScriptedService) -> None:
    """A closed storage refuses everything, a read-only one all writes, without a request."""
    storage = service.storage(read_only=True)
    service.answers(CREATED)
    assert storage.capabilities.read_only
    assert type(await _raised(storage.put("a", b"x"))) is ReadOnly
    assert type(await _raised(storage.delete(["a"]))) is ReadOnly
    await storage.close()
    assert type(await _raised(storage.head("a"))) is Closed
    assert service.asked == []


async def test_proxies_of_the_environment(
    service: ScriptedService, lean: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Requests go through the proxy that the environment names."""
    from urllib.parse import urlsplit

    monkeypatch.setenv("http_proxy", f"http://{urlsplit(service.endpoint).netloc}")
    monkeypatch.setenv("no_proxy", "")
    storage = service.storage(lean=lean, endpoint_url="http://far.example/acc", allow_http=True)
    service.answers(found(b"through"))
    assert bytes((await storage.get_range("a"))[0]) == b"through"
    assert service.asked[0].headers["host"] == "far.example"
    await storage.close()
