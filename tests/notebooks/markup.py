"""Whether HTML that a notebook is given is well formed, self-contained and free of scripts."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from xml.etree import ElementTree

__all__ = ["check"]

_VOID = {"br", "hr", "img", "input", "meta", "link", "wbr"}
_FORBIDDEN = {"script", "iframe", "object", "embed", "link", "img", "form", "base"}
_SVG = re.compile(r"<svg.*?</svg>", re.DOTALL)


class _Checker(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.problems: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag in _FORBIDDEN:
            self.problems.append(f"<{tag}> is there")
        for name, value in attributes:
            if name.startswith("on"):
                self.problems.append(f"<{tag}> has {name}")
            if name in ("src", "href", "data", "srcset") or "url(" in (value or ""):
                self.problems.append(f"<{tag}> asks for {value}")
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attributes)
        if tag not in _VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open[-1] != tag:
            self.problems.append(f"</{tag}> ends {self.open[-1:]}")
        else:
            self.open.pop()


def check(html: str) -> None:
    """Fail unless every element ends where it should, nothing runs and nothing is fetched; SVG is XML."""
    checker = _Checker()
    checker.feed(html)
    checker.close()
    assert not checker.problems, checker.problems[:5]
    assert not checker.open, checker.open
    assert "@import" not in html
    for drawing in _SVG.findall(html):
        ElementTree.fromstring(drawing)
