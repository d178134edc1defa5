"""Notebook output in a real browser."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from tests.notebooks.test_html import pictures


def pixels(path: Path) -> npt.NDArray[np.uint8]:
    """A picture as ``uint8[rows, columns, channels]``: eight bits a channel, not interlaced."""
    data = path.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    place, packed = 8, b""
    while place < len(data):
        length, kind = struct.unpack(">I4s", data[place : place + 8])
        body = data[place + 8 : place + 8 + length]
        if kind == b"IHDR":
            width, height, depth, color, *_, interlaced = struct.unpack(">IIBBBBB", body)
            assert (depth, interlaced) == (8, 0)
        packed += body if kind == b"IDAT" else b""
        place += length + 12
    channels = {0: 1, 2: 3, 6: 4}[color]
    lines = np.frombuffer(zlib.decompress(packed), np.uint8).reshape(height, width * channels + 1)
    image = np.zeros((height, width * channels), np.uint8)
    above = np.zeros(width * channels, np.uint8)
    for row in range(height):
        above = image[row] = _unfiltered(int(lines[row, 0]), lines[row, 1:], above, channels)
    return image.reshape(height, width, channels)


def _unfiltered(
    kind: int, line: npt.NDArray[np.uint8], above: npt.NDArray[np.uint8], step: int
) -> npt.NDArray[np.uint8]:
    """A line of a picture without its filter (PNG specification, section 9)."""
    if kind == 0:
        return line
    if kind == 2:
        return line + above
    if kind == 1:
        return np.add.accumulate(line.reshape(-1, step), axis=0, dtype=np.uint8).ravel()
    done = [0] * (len(line) + step)
    up = [0] * step + above.tolist()
    for index, value in enumerate(line.tolist(), start=step):
        left, over, corner = done[index - step], up[index], up[index - step]
        if kind == 3:
            guess = (left + over) // 2
        else:
            nearest = left + over - corner
            guess = min((abs(nearest - each), rank, each) for rank, each in enumerate((left, over, corner)))[
                2
            ]
        done[index] = (value + guess) & 255
    return np.array(done[step:], np.uint8)


@pytest.mark.slow
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_chromium_shows_it(theme: str, tmp_path: Path) -> None:
    """In a browser, the values are there and their text stands out from the page, whichever its colour."""
    script = pictures()
    if script.browser() is None:
        pytest.skip(f"none of {', '.join(script.NAMES)} is installed")
    values = {name: value for name, value in script.example().items() if "graph" in name or "tree" in name}
    target = tmp_path / "page.png"
    script.photograph(script.document(values, theme), target, width=480, height=420)
    image = pixels(target)[:, :, :3].astype(int)
    page = image[2, 2]
    assert page.mean() > 200 if theme == "light" else page.mean() < 60
    contrast = np.abs(image - page).max(axis=2)
    strong = (contrast > 150).mean()
    assert 0.01 < strong < 0.3  # text, and not a box of another colour
    lines = (contrast > 150).any(axis=1).sum()
    assert lines > 60
