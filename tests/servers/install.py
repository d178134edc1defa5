"""Install the servers of the tests into ``build/servers``, from the package registries.

Run it as ``python -m tests.servers.install``; it does nothing where they are there already.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import venv
from pathlib import Path

from tests.servers.process import INSTALLED

__all__ = ["install"]

HERE = Path(__file__).parent
NPM_PACKAGES = ("azurite@3.35.0", "s3rver@3.7.1")


def install() -> None:
    """Install what is missing; a stamp file tells which versions are there."""
    requirements = (HERE / "requirements.txt").read_text(encoding="utf-8")
    wanted = requirements + "\n".join(NPM_PACKAGES)
    stamp = INSTALLED / "installed.txt"
    if stamp.exists() and stamp.read_text(encoding="utf-8") == wanted:
        return
    npm = shutil.which("npm")
    if npm is None:
        raise SystemExit("npm is not installed; the server Azurite needs node and npm")
    print(f"Installing object-store servers into {INSTALLED} (once) ...", flush=True)
    INSTALLED.mkdir(parents=True, exist_ok=True)
    venv.create(INSTALLED / "python", with_pip=True, clear=True)
    pip = [
        str(INSTALLED / "python" / "bin" / "python"),
        "-m",
        "pip",
        "--disable-pip-version-check",
        "--quiet",
    ]
    subprocess.run([*pip, "--quiet", "install", "-r", str(HERE / "requirements.txt")], check=True)
    command = [npm, "install", "--prefix", str(INSTALLED), "--no-audit", "--no-fund", "--silent"]
    subprocess.run([*command, *NPM_PACKAGES], check=True)
    stamp.write_text(wanted, encoding="utf-8")


if __name__ == "__main__":
    install()
    sys.exit(0)
