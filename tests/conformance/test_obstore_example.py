"""The example that stands on obstore: a backend over somebody else's compiled clients."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any
from urllib.parse import quote

import pytest

from tests.conformance.examples_support import install_example, run_suite_command

pytest.importorskip("obstore")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The example, installed."""
    return install_example("icechunk-obstore-backend", tmp_path_factory.mktemp("site"))


def _url(kind: str, bucket: str, settings: dict[str, str]) -> str:
    return f"obstore+{kind}://{bucket}/x?allow_http=true&settings={quote(json.dumps(settings))}"


def _s3(server: Any) -> str:
    settings = {
        "endpoint": server.endpoint,
        "access_key_id": server.access_key,
        "secret_access_key": server.secret_key,
        "region": server.region,
        "virtual_hosted_style_request": "false",
    }
    return _url("s3", server.new_bucket(), settings)


def _azure(server: Any) -> str:
    settings = {
        "account_name": server.account,
        "account_key": server.account_key,
        "endpoint": server.endpoint,
    }
    return _url("az", server.new_bucket(), settings)


def test_a_repository_through_it(installed: dict[str, str], ministack: Any) -> None:
    """What one process commits through the example, another one reads."""
    url = _s3(ministack)
    write = (
        f"repo = icechunk_core.Repository.create({url!r})\n"
        "with repo.transaction('main', message='begin') as store:\n"
        "    zarr.create_array(store, name='a', shape=(100,), chunks=(10,), dtype='i4')[:] = 7"
    )
    read = (
        f"session = icechunk_core.Repository.open({url!r}).readonly_session('main')\n"
        "print(zarr.open_array(session.store, path='a', mode='r')[:].sum())"
    )
    printed = []
    for program in (write, read):
        run = subprocess.run(
            [sys.executable, "-c", f"import icechunk_core, zarr\n{program}"],
            env=installed,
            capture_output=True,
            text=True,
            check=False,
        )
        assert run.returncode == 0, run.stderr
        printed.append(run.stdout.strip())
    assert printed == ["", "700"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["s3", "az"])
def test_it_is_commit_safe(installed: dict[str, str], kind: str, request: pytest.FixtureRequest) -> None:
    """The suite gives it Commit-safe on S3 and on Azure servers."""
    url = (
        _s3(request.getfixturevalue("ministack"))
        if kind == "s3"
        else _azure(request.getfixturevalue("azurite"))
    )
    run = run_suite_command(installed, url, "--json", "--require", "Commit-safe")
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr
