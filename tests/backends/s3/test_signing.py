"""The lean path signs as the SDK does."""

from __future__ import annotations

from datetime import UTC, datetime
from unittest import mock

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import ReadOnlyCredentials
from hypothesis import given, settings
from hypothesis import strategies as st

from icechunk_core.clock import us_from_datetime
from icechunk_core.contract.credentials import S3StaticCredentials
from icechunk_s3._signing import EMPTY_SHA256, Signer, quoted_name

NOW = datetime(2026, 7, 1, 10, 20, 30, tzinfo=UTC)


class FixedClock:
    """Always the same moment."""

    def now_us(self) -> int:
        return us_from_datetime(NOW)

    def monotonic(self) -> float:
        return 0.0

    def sleep(self, seconds: float) -> None:
        raise AssertionError("nothing sleeps here")


header_names = st.from_regex(r"\Ax-amz-meta-[a-z0-9]{1,8}\Z") | st.sampled_from(
    ["range", "if-match", "content-type"]
)
header_values = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=20)
names = st.text(st.characters(blacklist_categories=["Cs", "Cc"]), min_size=1, max_size=20)


@given(
    name=names,
    headers=st.dictionaries(header_names, header_values, max_size=4),
    token=st.none() | st.just("a/session+token=="),
    method=st.sampled_from(["GET", "PUT", "HEAD"]),
    query=st.sampled_from(["", "partNumber=7&uploadId=a%2Fb-c_%3D"]),
)
@settings(max_examples=60)
def test_same_signature_as_the_sdk(
    name: str, headers: dict[str, str], token: str | None, method: str, query: str
) -> None:
    """For any name and headers, all that is added is what the SDK's signer adds."""
    path = "/bucket/" + quoted_name(name)
    request = AWSRequest(method, f"http://127.0.0.1:9000{path}?{query}", headers=dict(headers))
    with mock.patch("botocore.auth.get_current_datetime", return_value=NOW.replace(tzinfo=None)):
        S3SigV4Auth(ReadOnlyCredentials("AKID", "secret", token), "s3", "eu-west-1").add_auth(request)
    signer = Signer("eu-west-1", FixedClock())
    added = signer.sign(
        S3StaticCredentials("AKID", "secret", token),
        method,
        path,
        {**headers, "host": "127.0.0.1:9000"},
        EMPTY_SHA256,
        query,
    )
    expected = {key.lower(): value for key, value in request.headers.items() if key.lower() not in headers}
    assert added == expected
