"""Every public name of Icechunk 2.3.0 is here, and takes what it takes there."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.api.accepted import ACCEPTED
from tests.api.page import PAGE, render
from tests.api.shape import Member, Parameter, differences
from tests.api.stub import read_stub
from tests.api.walk import Surface

icechunk = pytest.importorskip("icechunk")


@pytest.fixture(scope="module")
def found() -> dict[str, str]:
    """All differences, by name."""
    if icechunk.__version__ != "2.3.0":
        pytest.skip("the names are compared with those of icechunk 2.3.0")
    pytest.importorskip("dask")
    pytest.importorskip("xarray")
    stub = read_stub(Path(icechunk.__file__).with_name("_icechunk_python.pyi"))
    theirs = Surface("icechunk", stub).walk()
    assert len(theirs) > 1000, "the walk must see the whole package"
    return differences(theirs, Surface("icechunk_core").look_up(theirs))


def test_every_difference_is_accepted(found: dict[str, str]) -> None:
    """No name, parameter or default differs, but for those listed with a reason in `accepted.py`."""
    unexplained = {
        name: difference
        for name, difference in found.items()
        if not any(each.covers(name, difference) for each in ACCEPTED)
    }
    assert not unexplained


def test_every_accepted_difference_exists(found: dict[str, str]) -> None:
    """What is listed as a difference is one: each pattern of the list meets a name."""
    used: Counter[str] = Counter()
    for each in ACCEPTED:
        for pattern in each.names:
            one = type(each)((pattern,), each.difference, each.reason)
            used[pattern] = sum(one.covers(name, difference) for name, difference in found.items())
    assert not [pattern for pattern, times in used.items() if times == 0]


def test_the_page_of_differences_is_current() -> None:
    """`docs/reference/differences.md` is what `tests.api.page` writes from the list."""
    assert PAGE.read_text(encoding="utf-8") == render(), "run python -m tests.api.page"


def _function(*parameters: tuple[str, str, str | None]) -> dict[str, Member]:
    return {"f": Member("function", tuple(Parameter(*each) for each in parameters))}


WIDE, NAMED, PLACED = "POSITIONAL_OR_KEYWORD", "KEYWORD_ONLY", "POSITIONAL_ONLY"


@pytest.mark.parametrize(
    ("theirs", "mine", "difference"),
    [
        (_function(("a", WIDE, None)), {}, "missing"),
        (_function(("a", WIDE, None)), _function(("b", WIDE, None)), "no parameter a"),
        (_function(("a", WIDE, "1")), _function(("a", WIDE, "2")), "by default"),
        (_function(("a", WIDE, "1")), _function(("a", WIDE, None)), "must be given"),
        (_function(("a", WIDE, None)), _function(("a", NAMED, None)), "keyword_only"),
        (
            _function(("a", WIDE, None), ("b", WIDE, None)),
            _function(("b", WIDE, None), ("a", WIDE, None)),
            "in another place",
        ),
        (_function(), _function(("a", WIDE, None)), "must be given too"),
        ({"A.b": Member("attribute", settable=True)}, {"A.b": Member("attribute")}, "cannot be set"),
        ({"A.b": Member("attribute")}, {"A.b": Member("function", ())}, "is a function"),
        ({"E": Member("class", bases=frozenset({"V"}))}, {"E": Member("class")}, "is no V"),
    ],
)
def test_the_comparison_sees(theirs: dict[str, Member], mine: dict[str, Member], difference: str) -> None:
    """Each kind of difference that would break a caller is reported."""
    (told,) = differences(theirs, mine).values()
    assert difference in told


@pytest.mark.parametrize(
    ("theirs", "mine"),
    [
        (_function(("a", NAMED, "1")), _function(("a", WIDE, "1"))),
        (_function(("a", PLACED, None)), _function(("b", PLACED, None))),
        (_function(("a", WIDE, None)), _function(("a", WIDE, None), ("more", NAMED, "None"))),
        (_function(("a", WIDE, "...")), _function(("a", WIDE, "5"))),
    ],
)
def test_the_comparison_lets_pass(theirs: dict[str, Member], mine: dict[str, Member]) -> None:
    """What takes every call that the other takes is no difference."""
    assert not differences(theirs, mine)
