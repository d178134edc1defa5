"""Wrappers by somebody else: each installed from its own package, proven by its own tests and the suite."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.conformance.examples_support import EXAMPLES, install_example, run_suite_command

WRAPPERS = {
    "icechunk-encryption-wrapper": ("encrypted", "cryptography"),
    "icechunk-cache-wrapper": ("cached", "filelock"),
    "icechunk-metrics-wrapper": ("metered", "prometheus_client"),
}
PYTEST = ["-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", "--rootdir", "."]
KEY = "rX3IyStDZVCUpAwvQKczG3pgU8wDrdfVd1AVGTCSpL8="


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """All three, installed into one directory; an environment in which Python finds them."""
    for _, package in WRAPPERS.values():
        pytest.importorskip(package)
    site = tmp_path_factory.mktemp("site")
    for name in WRAPPERS:
        environment = install_example(name, site)
    cache = str(tmp_path_factory.mktemp("cache"))
    return dict(environment, ICECHUNK_ENCRYPTION_KEY=KEY, XDG_CACHE_HOME=cache, HOME=cache)


@pytest.mark.slow
@pytest.mark.parametrize("name", WRAPPERS)
def test_its_own_tests_pass(installed: dict[str, str], name: str, tmp_path: Path) -> None:
    """What a distribution promises holds for it as it is installed: the suite on memory among it."""
    run = subprocess.run(
        [sys.executable, *PYTEST, str(EXAMPLES / name / "tests")],
        env=installed,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr


def test_they_are_found(installed: dict[str, str]) -> None:
    """The listing of plugins has all of them, loaded and usable, as wrappers."""
    run = subprocess.run(
        [sys.executable, "-m", "icechunk_core.cli", "plugins", "--json"],
        env=installed,
        capture_output=True,
        text=True,
        check=False,
    )
    records = {each["name"]: each for each in json.loads(run.stdout)}
    for name, (scheme, _) in WRAPPERS.items():
        assert (records[scheme]["kind"], records[scheme]["state"]) == ("wrapper", "loaded")
        assert records[scheme]["distribution"] == name


def test_encrypted_files(installed: dict[str, str], tmp_path: Path) -> None:
    """On a filesystem the suite finds nothing wrong, between processes and after kills too."""
    run = run_suite_command(
        installed, f"encrypted+file://{tmp_path}", "--json", "--only", "B,E,F11,J01,J02,K02"
    )
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr


@pytest.mark.slow
def test_encrypted_objects_on_a_server(installed: dict[str, str], ministack: Any) -> None:
    """On S3, with lost answers and a faulting transport, what is encrypted behaves as what is not; a small
    operation is still one request."""
    options = urlencode(
        {
            "endpoint_url": ministack.endpoint,
            "region": ministack.region,
            "access_key_id": ministack.access_key,
            "secret_access_key": ministack.secret_key,
            "allow_http": "true",
            "force_path_style": "true",
        }
    )
    url = f"encrypted+s3://{ministack.new_bucket()}/x?{options}"
    run = run_suite_command(installed, url, "--json", "--only", "B,E,G01,L01,L02,L05")
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr
