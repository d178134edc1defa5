"""Pictures of what values show in notebooks, for the documentation and for looking at them.

    python docs/images/notebook.py [--all DIRECTORY]

Rebuilds ``notebook-light.png`` and ``notebook-dark.png`` beside this file with a headless Chromium
(any binary that `shutil.which` finds as chromium, chromium-browser or google-chrome). With ``--all``
it writes a page and a picture of every value into a directory instead.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

import zarr

import icechunk_core

HERE = Path(__file__).parent
NAMES = ("chromium", "chromium-browser", "google-chrome")

# The variables and table rules of JupyterLab's themes that matter for output areas.
THEMES = {
    "light": "background:#fff;color:rgba(0,0,0,.87)",
    "dark": "background:#111;color:rgba(255,255,255,1)",
}
PAGE = """<!doctype html><meta charset="utf-8"><title>{title}</title><style>
body{{margin:0;padding:14px 18px;font-family:system-ui,'DejaVu Sans',sans-serif;font-size:13px;{theme}}}
table{{border-collapse:collapse;margin:0 auto 1em;table-layout:fixed;font-size:12px}}
td,th{{text-align:right;vertical-align:middle;padding:.5em;white-space:normal;max-width:none}}
tbody tr:nth-child(odd){{background:rgba(128,128,128,.1)}}
h3{{font-size:11px;font-weight:500;opacity:.5;margin:14px 0 2px}}
</style>{body}"""


def browser() -> str | None:
    """The browser's program, if there is one."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


def example() -> dict[str, object]:
    """A small repository with some of everything, and what its values are called."""
    repo = icechunk_core.Repository.create("memory:")
    session = repo.writable_session("main")
    root = zarr.create_group(session.store)
    surface = root.create_group("surface")
    options = {"dtype": "f4", "compressors": None, "dimension_names": ["time", "lat", "lon"]}
    air = surface.create_array("air_temperature", shape=(24, 90, 180), chunks=(1, 10, 20), **options)
    surface.create_array("pressure", shape=(24, 90, 180), chunks=(6, 45, 90), **options)
    root.create_array("time", shape=(24,), dtype="i8", dimension_names=["time"])[:] = range(24)
    air[:2] = 280.0
    first = session.commit("First two hours")
    repo.create_branch("calibration", first)
    repo.create_tag("v1", first)
    with repo.transaction("main", message="Hours 3 to 12") as store:
        zarr.open_group(store)["surface/air_temperature"][2:12] = 281.0
    with repo.transaction("calibration", message="Sensor 4 corrected") as store:
        zarr.open_group(store)["surface/air_temperature"][0, :40] = 280.5
    with repo.transaction("main", message="Hours 13 to 18, without the poles") as store:
        zarr.open_group(store)["surface/air_temperature"][12:18, 20:70] = 282.0
    work = repo.writable_session("main")
    root = zarr.open_group(work.store)
    root["surface/air_temperature"][18, :30] = 283.0
    root["surface"].create_array("humidity", shape=(24, 90, 180), chunks=(6, 45, 90), **options)
    del root["surface/pressure"]
    root.attrs["title"] = "Weather"
    return {
        "repo": repo,
        "repo.ancestry_graph()": repo.ancestry_graph(),
        "session": work,
        "session.store": work.store,
        "session.tree()": work.tree(),
        "session.status()": work.status(),
        'session.chunk_map("/surface/air_temperature")': work.chunk_map("/surface/air_temperature"),
        "repo.lookup_snapshot(...)": repo.lookup_snapshot(first),
        "repo.get_status()": repo.get_status(),
        "repo.config": icechunk_core.RepositoryConfig(
            inline_chunk_threshold_bytes=1024, caching=icechunk_core.CachingConfig(num_bytes_chunks=10**9)
        ),
        "repo.io_stats": repo.io_stats,
        "repo.chunk_storage_stats()": repo.chunk_storage_stats(),
        "repo.verify()": repo.verify(),
    }


def document(values: Mapping[str, object], theme: str) -> str:
    """A page as a notebook would show the values."""
    body = "".join(
        f"<h3>{name.replace('<', '&lt;')}</h3>{value._repr_html_()}"  # type: ignore[attr-defined]
        for name, value in values.items()
    )
    return PAGE.format(title="values", theme=THEMES[theme], body=body)


def photograph(page: str, target: Path, *, width: int, height: int) -> None:
    """A picture of a page.

    Raises
    ------
    RuntimeError
        If there is no browser, or it makes no picture.
    """
    program = browser()
    if program is None:
        raise RuntimeError(f"no browser was found ({', '.join(NAMES)}); install chromium")
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "page.html"
        source.write_text(page, encoding="utf-8")
        arguments = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
                     "--disable-background-networking", "--disable-component-update", "--disable-sync",
                     "--hide-scrollbars", f"--user-data-dir={folder}/profile", f"--screenshot={target}",
                     f"--window-size={width},{height}", source.as_uri()]  # fmt: skip
        done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=60, check=False)
    if not target.exists():
        raise RuntimeError(f"{program} made no picture: {done.stderr[-400:]}")


def main() -> None:
    """Rebuild the pictures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--all", type=Path, help="write pictures of everything into this directory")
    chosen = parser.parse_args()
    values = example()
    if chosen.all is not None:
        chosen.all.mkdir(parents=True, exist_ok=True)
        for theme in THEMES:
            photograph(document(values, theme), chosen.all / f"all-{theme}.png", width=900, height=2600)
        return
    shown = ("repo.ancestry_graph()", "session.tree()", "session.status()",
             'session.chunk_map("/surface/air_temperature")')  # fmt: skip
    for theme in THEMES:
        page = document({name: values[name] for name in shown}, theme)
        photograph(page, HERE / f"notebook-{theme}.png", width=760, height=950)


if __name__ == "__main__":
    main()
