"""A client made of the SDK: aiobotocore."""

from __future__ import annotations

import io
import threading
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Any, cast

from aiobotocore.config import AioConfig
from aiobotocore.credentials import AioCredentials
from aiobotocore.session import AioSession
from botocore import UNSIGNED
from botocore.credentials import ReadOnlyCredentials

from icechunk_core.contract import Buffer, as_one, child_safe
from icechunk_s3._client import (
    Listed,
    Page,
    Reply,
    WriteOptions,
    combined_etag,
    content_md5,
    etag_of,
    extra_headers,
)
from icechunk_s3._config import S3Config
from icechunk_s3._credentials import CredentialSource
from icechunk_s3._quirks import Quirks

__all__ = ["SdkClient", "make_session", "region_of"]

DEFAULT_REGION = "us-east-1"
PAGE = 1000
STREAMED = 1 << 20
_WRITES = ("Put", "Delete", "Copy", "Create", "Upload", "Complete", "Abort")


class _Signed(AioCredentials):  # type: ignore[misc]
    """Credentials for the SDK's signer, which asks for them at every request."""

    def __init__(self, source: CredentialSource) -> None:
        super().__init__("", "", None, method="icechunk-core")
        self._source = source

    async def get_frozen_credentials(self) -> ReadOnlyCredentials:
        key = await self._source.current()
        assert key is not None, "otherwise the SDK finds them"
        return ReadOnlyCredentials(key.access_key_id, key.secret_access_key, key.session_token)


class _Provider:
    """Where the SDK's session gets credentials from."""

    def __init__(self, source: CredentialSource) -> None:
        self._source = source

    async def load_credentials(self) -> AioCredentials:
        return _Signed(self._source)


_loader: Any = None
_loader_lock = child_safe(threading.Lock())


def make_session(config: S3Config, credentials: CredentialSource) -> AioSession:
    """A session of the SDK; all share what it reads from its own files."""
    global _loader
    session = AioSession(profile=config.profile)
    with _loader_lock:
        if _loader is None:
            _loader = session.get_component("data_loader")
        else:
            session.register_component("data_loader", _loader)
    if not (credentials.anonymous or credentials.from_environment):
        session.register_component("credential_provider", _Provider(credentials))
    return session


def region_of(config: S3Config, session: AioSession) -> str:
    """The region that requests are signed for."""
    return config.region or cast("str | None", session.get_config_variable("region")) or DEFAULT_REGION


class SdkClient:
    """Requests through aiobotocore. The SDK's own retries are off: `Retries` does them."""

    def __init__(self, config: S3Config, quirks: Quirks, stack: AsyncExitStack, client: Any) -> None:
        self._config = config
        self._bucket = config.bucket
        self._quirks = quirks
        self._stack = stack
        self._client = client
        client.meta.events.register("before-call.s3", self._add_headers)

    @classmethod
    async def open(
        cls, config: S3Config, quirks: Quirks, credentials: CredentialSource, session: AioSession
    ) -> SdkClient:
        """A client in the running event loop."""
        checksums = "when_supported" if quirks.default_checksums else "when_required"
        stall = config.network_stream_timeout_seconds or None
        options = AioConfig(
            signature_version=UNSIGNED if credentials.anonymous else "s3v4",
            s3={"addressing_style": "path" if config.path_style else "auto"},
            connect_timeout=config.connect_timeout,
            read_timeout=stall,
            max_pool_connections=config.max_connections,
            retries={"total_max_attempts": 1},
            user_agent=config.user_agent,
            request_checksum_calculation=checksums,
            response_checksum_validation=checksums,
        )
        stack = AsyncExitStack()
        client = await stack.enter_async_context(
            session.create_client(
                "s3",
                region_name=region_of(config, session),
                endpoint_url=config.address,
                # Without TLS there is nothing to verify, and no time to spend on reading certificates.
                verify=False if (config.address or "").startswith("http://") else None,
                config=options,
            )
        )
        return cls(config, quirks, stack, client)

    async def full(self) -> SdkClient:
        return self

    async def close(self) -> None:
        await self._stack.aclose()

    def _add_headers(self, model: Any, params: dict[str, Any], **_: Any) -> None:
        """Extra headers, before the request is signed."""
        write = model.name.startswith(_WRITES)
        params["headers"].update(extra_headers(self._config, write=write))
        if model.name == "DeleteObjects" and not self._quirks.default_checksums:
            params["headers"]["Content-MD5"] = content_md5(params["body"])

    # --- reading

    async def get(self, name: str, byte_range: str | None, if_match: str | None) -> Reply:
        given = _given(Range=byte_range, IfMatch=if_match)
        answer = await self._client.get_object(Bucket=self._bucket, Key=name, **given)
        async with answer["Body"] as stream:
            body = await stream.read()
        return Reply(_headers(answer), body)

    async def head(self, name: str) -> Reply:
        return Reply(_headers(await self._client.head_object(Bucket=self._bucket, Key=name)))

    async def list_page(
        self,
        prefix: str,
        start_after: str | None,
        token: str | None,
        *,
        folders: bool,
        limit: int | None = None,
    ) -> Page:
        answer = await self._client.list_objects_v2(
            Bucket=self._bucket,
            Prefix=prefix,
            MaxKeys=limit or PAGE,
            **_given(StartAfter=start_after, ContinuationToken=token, Delimiter="/" if folders else None),
        )
        return Page(
            [_listed(each) for each in answer.get("Contents", ())],
            [each["Prefix"] for each in answer.get("CommonPrefixes", ())],
            answer.get("NextContinuationToken") if answer.get("IsTruncated") else None,
        )

    # --- writing

    async def put(self, name: str, body: Sequence[Buffer], options: WriteOptions) -> str:
        whole = as_one(body)
        answer = await self._client.put_object(
            Bucket=self._bucket,
            Key=name,
            Body=_stream(whole),
            **self._about(options),
            **_condition(options),
            **self._checksum(whole),
        )
        return etag_of(answer.get("ETag"))

    async def delete(self, name: str) -> None:
        await self._client.delete_object(Bucket=self._bucket, Key=name)

    async def delete_many(self, names: Sequence[str]) -> Mapping[str, tuple[str, str]]:
        answer = await self._client.delete_objects(
            Bucket=self._bucket,
            Delete={"Objects": [{"Key": name} for name in names], "Quiet": True},
            **self._checksum(),
        )
        return {
            str(each.get("Key")): (str(each.get("Code", "")), str(each.get("Message", "")))
            for each in answer.get("Errors", ())
        }

    async def copy(self, source: str, target: str, options: WriteOptions) -> str:
        answer = await self._client.copy_object(
            Bucket=self._bucket,
            Key=target,
            CopySource={"Bucket": self._bucket, "Key": source},
            **self._about(options),
        )
        return etag_of(answer.get("CopyObjectResult", {}).get("ETag"))

    async def create_upload(self, name: str, options: WriteOptions) -> str:
        # Named where the SDK would choose one: parts are also sent without it.
        default = {"ChecksumAlgorithm": "CRC32"} if self._quirks.default_checksums else {}
        answer = await self._client.create_multipart_upload(
            Bucket=self._bucket, Key=name, **self._about(options), **{**default, **self._checksum()}
        )
        return str(answer["UploadId"])

    async def upload_part(self, name: str, upload: str, number: int, body: memoryview) -> Mapping[str, str]:
        answer = await self._client.upload_part(
            Bucket=self._bucket,
            Key=name,
            UploadId=upload,
            PartNumber=number,
            Body=_stream(body),
            **self._checksum(body),
        )
        sums = {
            name: value
            for name, value in answer.items()
            if name.startswith("Checksum") and name != "ChecksumType"
        }
        return {"ETag": answer["ETag"], **sums}

    async def complete_upload(
        self, name: str, upload: str, parts: Sequence[Mapping[str, str]], options: WriteOptions
    ) -> str:
        listed = [{**part, "PartNumber": number} for number, part in enumerate(parts, 1)]
        answer = await self._client.complete_multipart_upload(
            Bucket=self._bucket,
            Key=name,
            UploadId=upload,
            MultipartUpload={"Parts": listed},
            **_condition(options),
        )
        return etag_of(answer.get("ETag") or combined_etag(parts))

    async def abort_upload(self, name: str, upload: str) -> None:
        await self._client.abort_multipart_upload(Bucket=self._bucket, Key=name, UploadId=upload)

    def _about(self, options: WriteOptions) -> dict[str, Any]:
        config = self._config
        return _given(
            Metadata=dict(options.metadata) or None,
            ContentType=options.content_type,
            StorageClass=options.storage_class or config.storage_class,
            ServerSideEncryption=config.server_side_encryption,
            SSEKMSKeyId=config.kms_key_id,
        )

    def _checksum(self, body: Buffer | None = None) -> dict[str, Any]:
        """What lets the server notice a damaged or cut body."""
        if self._config.checksum is not None:
            return {"ChecksumAlgorithm": self._config.checksum}
        if body is None or self._quirks.default_checksums:
            return {}
        return {"ContentMD5": content_md5(body)}


def _stream(body: Buffer) -> bytes | io.BytesIO:
    """A body as aiohttp wants it: large ones as a stream."""
    return bytes(body) if len(body) < STREAMED else io.BytesIO(body)


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _condition(options: WriteOptions) -> dict[str, Any]:
    return _given(IfMatch=options.if_match, IfNoneMatch="*" if options.if_absent else None)


def _headers(answer: Mapping[str, Any]) -> Mapping[str, str]:
    headers: Mapping[str, str] = answer["ResponseMetadata"]["HTTPHeaders"]
    return headers


def _listed(entry: Mapping[str, Any]) -> Listed:
    modified: datetime = entry["LastModified"]
    return Listed(
        entry["Key"],
        int(entry["Size"]),
        str(entry.get("ETag", "")).strip('"'),
        # Listings have fractions of a second, the answers about one object do not.
        modified.astimezone(UTC).replace(microsecond=0),
    )
