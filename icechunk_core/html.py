"""Pieces of HTML that values show themselves with in notebooks.

Static: no scripts, nothing from the network. They take text colour and font from the page they are
in, and grey and colours of middle lightness otherwise, so that they read on light and dark pages.
Everything that comes from users goes through `text`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

__all__ = ["bytes_text", "chip", "code", "facts", "fold", "page", "printable", "shortened", "table", "text"]

_LONGEST = 4_000
"""Letters of one value that are shown."""
_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB")

# Classes are doubled to win over the rules that notebooks have for all tables.
_STYLE = """
.icck{font-size:13px;line-height:1.5;margin:.3em 0;max-width:76em}
.icck .icck-head{font-weight:600;padding:.1em 0 .25em;border-bottom:1px solid rgba(128,128,128,.35)}
.icck .icck-mute,.icck .icck-note{opacity:.65}
.icck.icck table{border-collapse:collapse;border:0;margin:.35em 0;table-layout:auto}
.icck.icck tr{background:none;border:0}
.icck.icck th,.icck.icck td{text-align:left;vertical-align:top;padding:.12em 1.1em .12em 0;border:0;
background:none;white-space:normal;max-width:none;overflow-wrap:anywhere}
.icck.icck th{font-weight:500;opacity:.65;white-space:nowrap;overflow-wrap:normal}
.icck.icck .icck-num td:not(:first-child),.icck.icck .icck-num th:not(:first-child){text-align:right;
font-variant-numeric:tabular-nums}
.icck.icck .icck-grid tr+tr td{border-top:1px solid rgba(128,128,128,.18)}
.icck details{margin:.1em 0}
.icck summary{cursor:pointer}
.icck details>:not(summary){margin-left:1.1em}
.icck .icck-code,.icck pre{font-family:ui-monospace,Menlo,Consolas,monospace;font-size:12px}
.icck.icck td>pre{margin-left:0}
.icck.icck pre{white-space:pre-wrap;overflow-wrap:anywhere;background:none;border:0;padding:0;
margin:.1em 0 .1em 1.1em;line-height:1.4}
.icck .icck-chip{display:inline-block;border-radius:.7em;padding:0 .6em;margin:.05em .25em .05em 0;
background:rgba(128,128,128,.18);font-size:12px}
.icck .icck-row{padding:.08em 0}
.icck .icck-wide{overflow:auto;max-height:36em}
"""


def printable(value: str) -> str:
    """Text from storage made safe to show: it must not be able to drive the terminal or break a document."""
    if value.isprintable():
        return value
    return "".join(letter if letter.isprintable() else " " for letter in value)


def text(value: object) -> str:
    """Any value as text in HTML."""
    from html import escape  # whose entities take longer to load than this module

    return escape("\n".join(printable(line) for line in str(value).split("\n")))


def shortened(value: str, length: int) -> str:
    """A text cut where it gets long.

    >>> shortened("temperature", 8)
    'tempera…'
    """
    return value if len(value) <= length else value[: length - 1] + "…"


def bytes_text(size: int) -> str:
    """A size for people.

    >>> bytes_text(5), bytes_text(1536), bytes_text(3 * 2**30)
    ('5 bytes', '1.5 KiB', '3.0 GiB')
    """
    value = float(size)
    for unit in _UNITS:
        if value < 1024 or unit == _UNITS[-1]:
            break
        value /= 1024
    return f"{size:,} bytes" if unit == "bytes" else f"{value:.1f} {unit}"


def page(title: str, *parts: str, about: str = "") -> str:
    """What a value shows: a title and HTML below it. ``title`` and ``about`` are plain text."""
    aside = f" <span class='icck-mute'>{text(about)}</span>" if about else ""
    body = "".join(parts)
    return (
        f"<div class='icck'><style>{_STYLE}</style>"
        f"<div class='icck-head'>icechunk_core.{text(title)}{aside}</div>{body}</div>"
    )


def facts(pairs: Iterable[tuple[str, object]]) -> str:
    """A table of names and values; a value with a form for notebooks shows that."""
    rows = "".join(f"<tr><th>{text(name)}</th><td>{_cell(value)}</td></tr>" for name, value in pairs)
    return f"<table>{rows}</table>"


def _cell(value: object) -> str:
    nested = getattr(value, "_repr_html_", None)
    if nested is not None:
        return str(nested())
    shown = shortened(str(value), _LONGEST)
    return f"<pre>{text(shown)}</pre>" if "\n" in shown else text(shown)


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: bool = False) -> str:
    """A table of plain texts; with ``numbers`` all columns but the first stand on the right."""
    first = "".join(f"<th>{text(head)}</th>" for head in heads)
    body = "".join(f"<tr>{''.join(f'<td>{text(cell)}</td>' for cell in row)}</tr>" for row in rows)
    kind = "icck-grid icck-num" if numbers else "icck-grid"
    return f"<table class='{kind}'><thead><tr>{first}</tr></thead><tbody>{body}</tbody></table>"


def fold(summary: str, body: str, *, opened: bool = False) -> str:
    """HTML behind a line that unfolds it, which is HTML too."""
    return f"<details{' open' if opened else ''}><summary>{summary}</summary><div>{body}</div></details>"


def code(value: object) -> str:
    """A name or id in letters of one width."""
    return f"<span class='icck-code'>{text(value)}</span>"


def chip(value: object, color: str | None = None) -> str:
    """A label."""
    style = f" style='background:{color}44'" if color else ""
    return f"<span class='icck-chip'{style}>{text(value)}</span>"
