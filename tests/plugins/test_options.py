"""URLs, mappings and keywords become a configuration; errors name the option and hide secrets."""

from __future__ import annotations

import enum
import traceback
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import pytest
from attrs import field, frozen
from attrs.validators import instance_of, matches_re
from hypothesis import given
from hypothesis import strategies as st

from icechunk_core.errors import IcechunkError, PluginError, StorageConfigError
from icechunk_core.plugins import open_storage
from icechunk_core.plugins.structuring import structure_config
from icechunk_core.plugins.urls import parse_url, redacted

Install = Callable[..., None]


class Tier(enum.Enum):
    """Values of an option."""

    HOT = "hot"
    COLD = "cold"


@frozen
class Key:
    """Nested options, one of them secret."""

    name: str
    secret: str = field(repr=False)


@frozen
class Config:
    """Options of every kind."""

    bucket: str
    prefix: str | None = None
    attempts: int = 3
    wait: float = 0.5
    secure: bool = True
    limit: int | None = None
    tier: Tier = Tier.HOT
    mode: Literal["fast", "safe"] = "fast"
    root: Path | None = None
    until: datetime | None = None
    headers: Mapping[str, str] | None = field(default=None, repr=False)
    key: Key | None = None
    hosts: tuple[str, ...] = ()
    size: int | str = 0
    refresh: Callable[[], str] | None = None
    password: str | None = field(default=None, repr=False)
    _token: str = field(default="private", alias="token")


def structured(**options: Any) -> Config:
    """The configuration from options, with a bucket."""
    return structure_config(Config, {"bucket": "b", **options}, backend="test")


@pytest.mark.parametrize(
    ("option", "text", "value"),
    [
        ("prefix", "a/b", "a/b"),
        ("attempts", "7", 7),
        ("wait", "1.5", 1.5),
        ("wait", "2", 2.0),
        ("secure", "false", False),
        ("secure", "NO", False),
        ("secure", "0", False),
        ("secure", "True", True),
        ("secure", "on", True),
        ("limit", "10", 10),
        ("tier", "cold", Tier.COLD),
        ("tier", "COLD", Tier.COLD),
        ("mode", "safe", "safe"),
        ("root", "/data", Path("/data")),
        ("until", "2026-01-02T03:04:05+00:00", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
    ],
)
def test_texts_are_parsed_by_the_type_of_the_option(option: str, text: str, value: Any) -> None:
    """Query parameters are texts; each becomes what the configuration declares."""
    assert getattr(structured(**{option: text}), option) == value


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("limit", None),
        ("tier", Tier.COLD),
        ("headers", {"a": "b"}),
        ("key", Key("n", "s")),
        ("hosts", ("a", "b")),
        ("size", "big"),
        ("size", 4),
        ("refresh", str),
    ],
)
def test_proper_values_pass_through(option: str, value: Any) -> None:
    """From a mapping or keywords, values may have their type already."""
    assert getattr(structured(**{option: value}), option) == value


def test_nested_options_come_from_nested_mappings() -> None:
    """An attrs class inside the configuration is made from a mapping."""
    assert structured(key={"name": "n", "secret": "s"}).key == Key("n", "s")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"attempts": "many"}, "option 'attempts': expected a whole number, not 'many'"),
        ({"attempts": 1.5}, "option 'attempts': expected a whole number, not 1.5"),
        ({"attempts": True}, "option 'attempts': expected a whole number, not True"),
        ({"wait": "soon"}, "option 'wait': expected a number, not 'soon'"),
        ({"secure": "maybe"}, "option 'secure': expected true or false, not 'maybe'"),
        ({"secure": 2}, "option 'secure': expected true or false, not 2"),
        ({"prefix": 5}, "option 'prefix': expected text, not 5"),
        ({"bucket": None}, "option 'bucket': expected text, not None"),
        ({"tier": "warm"}, "option 'tier': expected one of 'hot', 'cold', not 'warm'"),
        ({"mode": "slow"}, "option 'mode': expected"),
        ({"root": 5}, "option 'root': expected a path, not 5"),
        ({"until": "tomorrow"}, "option 'until': expected a date and time"),
        ({"refresh": 5}, "option 'refresh': expected a callable"),
        ({"size": 1.5}, "option 'size': expected a whole number or text, not 1.5"),
        ({"key": {"name": 5, "secret": "x"}}, "option 'key.name': expected text"),
        ({"key": {"name": "n"}}, "option 'key': needs the option 'secret'"),
        ({"key": "n:s"}, "option 'key': expected a mapping of the options 'name', 'secret'"),
        ({"attemts": 1}, "there is no option 'attemts' (did you mean 'attempts'?)"),
        ({"zzz": 1}, "there is no option 'zzz'; the options are 'bucket', 'prefix'"),
        ({"token": "x"}, "there is no option 'token'"),
        ({"_token": "x"}, "there is no option '_token'"),
    ],
)
def test_errors_name_the_option(options: dict[str, Any], message: str) -> None:
    """Wrong values, unknown and private options: the message says which option and what was expected."""
    with pytest.raises(StorageConfigError) as caught:
        structured(**options)
    assert message in str(caught.value)
    assert str(caught.value).startswith("test storage: ")


def test_missing_options_are_named() -> None:
    """An option without default must be given."""
    with pytest.raises(StorageConfigError, match="needs the option 'bucket'"):
        structure_config(Config, {}, backend="test")


@frozen
class Checked:
    """Options with validators and converters of attrs."""

    count: int = field(default=1, validator=instance_of(int))
    name: str = field(default="a", validator=matches_re("[a-z]+"))
    loud: str = field(default="A", converter=str.upper)
    password: str = field(default="", repr=False, validator=matches_re("[a-z]*"))


def test_validators_of_the_class_name_the_option() -> None:
    """What the backend's own validators refuse is an error of the configuration too."""
    with pytest.raises(StorageConfigError, match=r"option 'name'.*must match regex"):
        structure_config(Checked, {"name": "A1"}, backend="test")


def test_converters_of_the_class_get_the_value_as_given() -> None:
    """A field with a converter decides by itself what it takes, and what it refuses."""
    assert structure_config(Checked, {"loud": "x"}, backend="test").loud == "X"
    with pytest.raises(StorageConfigError, match="test storage"):
        structure_config(Checked, {"loud": 5}, backend="test")


def test_a_configuration_that_options_cannot_fill_is_the_plugins_fault() -> None:
    """A field of a type that nothing can be made of is reported as an error of the plugin."""

    @frozen
    class Odd:
        thing: complex | bytes | None = None
        lock: enum.EnumType | None = None

    with pytest.raises(PluginError, match="field that options cannot fill"):
        structure_config(Odd, {"lock": "x"}, backend="odd")


def test_a_configuration_whose_types_are_unknown_is_the_plugins_fault() -> None:
    """Annotations that name what exists only for type checkers are reported, with the mend."""

    @frozen
    class Unresolved:
        thing: NotImported | None = None  # type: ignore[name-defined] # noqa: F821

    with pytest.raises(PluginError, match="import what its annotations name at run time"):
        structure_config(Unresolved, {}, backend="odd")


# --- secrets -----------------------------------------------------------------

SECRET = "hunter2-very-secret"


def everything_shown(error: BaseException) -> str:
    """Message, repr and traceback with all chained errors, as a log would have it."""
    return repr(error) + str(error) + "".join(traceback.format_exception(error))


@pytest.mark.parametrize(
    "options",
    [
        {"password": SECRET, "attempts": SECRET},
        {"password": {"nested": SECRET}},
        {"key": {"name": 5, "secret": SECRET}},
        {"key": {"name": "n", "secret": [SECRET]}},
        {"key": SECRET},
        {"headers": {"authorization": 5, "x": SECRET}},
        {"headers": SECRET},
        {"unknown": SECRET},
        {"password": SECRET, "unknown": "x"},
    ],
)
def test_secrets_are_in_no_error(options: dict[str, Any]) -> None:
    """Whatever is wrong, the text of a secret appears neither in the message nor in the traceback."""
    with pytest.raises(StorageConfigError) as caught:
        structured(**options)
    shown = everything_shown(caught.value)
    # The line of this test that passed the options is in the traceback; the value is not in its source.
    assert SECRET not in shown


def test_secrets_are_not_in_errors_of_validators() -> None:
    """attrs puts the refused value into its message; it is taken out again."""
    with pytest.raises(StorageConfigError) as caught:
        structure_config(Checked, {"password": SECRET}, backend="test")
    assert SECRET not in everything_shown(caught.value)
    assert "password" in str(caught.value)


def test_secrets_are_not_in_errors_of_the_factory() -> None:
    """A backend that fails with a message that contains a secret does not leak it."""
    from icechunk_core.contract import BackendSpec, Capabilities
    from icechunk_core.plugins import register_backend

    def fail(config: Config) -> object:
        raise RuntimeError(f"cannot log in with {config.password} and {config.key}")

    register_backend(BackendSpec("leaky", ["leaky"], Config, Capabilities(), fail, lambda _: {}))
    with pytest.raises(PluginError, match=r"RuntimeError: cannot log in with \*\*\*") as caught:
        open_storage({"scheme": "leaky", "bucket": "b", "password": SECRET})
    assert SECRET not in everything_shown(caught.value)


def test_secrets_are_not_in_the_repr_of_a_storage(installed: Install) -> None:
    """A storage shows its configuration, which leaves secrets out."""
    installed("good")
    storage = open_storage("echo://bucket", password=SECRET)
    assert "bucket" in repr(storage)
    assert SECRET not in repr(storage)
    assert SECRET not in str(storage)


@pytest.mark.parametrize(
    "url",
    [
        f"echo://user:{SECRET}@[broken/x",
        f"echo://bucket?password={SECRET}#fragment",
        f"echo://bucket?password={SECRET}&password=again",
        f"echo://bucket?attempts=many&password={SECRET}",
        f"nobody://key:{SECRET}@bucket/x?token={SECRET}",
        f"//key:{SECRET}@bucket",
    ],
)
def test_secrets_in_urls_are_in_no_error(installed: Install, url: str) -> None:
    """Nor do those that are written into a URL."""
    installed("good")
    with pytest.raises(IcechunkError) as caught:
        open_storage(url)
    assert SECRET not in everything_shown(caught.value)


@given(st.text(), st.text(min_size=8), st.text())
def test_redaction_leaves_no_secret(before: str, secret: str, after: str) -> None:
    """Whatever stands around it, a user, a password or a query value is not in the redacted URL."""
    host = "".join(character for character in after if character.isalnum())
    marked = "<" + "".join(character for character in secret if character not in "@?#/&=") + ">"
    shown = redacted(
        f"s3://{before.replace('/', '').replace('?', '').replace('#', '')}{marked}@{host}/p?q={marked}"
    )
    assert marked not in shown


@frozen
class Renamed:
    """Options that had other names once."""

    attempts: int = field(default=3, metadata={"formerly": ("tries", "max_tries")})
    deadline: float = 60.0


@pytest.mark.parametrize("name", ["attempts", "tries", "max_tries"])
def test_former_names_of_options(name: str) -> None:
    """An option is known by the names that it had, too."""
    given = {name: "7", "deadline": "5"}
    assert structure_config(Renamed, given, backend="test") == Renamed(7, 5.0)


def test_a_former_name_beside_the_one_of_today() -> None:
    """Both together are a mistake, which is named."""
    with pytest.raises(StorageConfigError, match="'tries' is called 'attempts' now; give one of them"):
        structure_config(Renamed, {"tries": 1, "attempts": 2}, backend="test")


@pytest.mark.parametrize(
    ("url", "attempts", "deadline"),
    [
        ("s3://bucket?max_attempts=7&operation_timeout=5", 7, 5.0),
        ("gs://bucket?max_tries=7&deadline=5", 7, 5.0),
        ("az://container?account=a&anonymous=true&max_tries=7&retry_deadline=5", 7, 5.0),
    ],
)
def test_repetition_has_one_vocabulary(url: str, attempts: int, deadline: float) -> None:
    """How often and how long requests are repeated is said alike for all services; former names go on."""
    config = open_storage(url).config
    assert (config.max_attempts, config.deadline) == (attempts, deadline)
    config = open_storage("https://host/a", attempts=attempts, deadline=deadline).config
    assert (config.max_attempts, config.deadline) == (attempts, deadline)


# --- URLs --------------------------------------------------------------------


def test_keywords_win_over_the_url(installed: Install) -> None:
    """Options given in code are more explicit than those in a URL."""
    installed("good")
    storage = open_storage("echo://bucket?attempts=1&wait=2", attempts=9)
    assert (storage.config.attempts, storage.config.wait) == (9, 2.0)


def test_a_mapping_may_hold_a_url(installed: Install) -> None:
    """As in a configuration file: a URL, and options beside it."""
    installed("good")
    assert open_storage({"url": "echo://bucket", "secure": "no"}).config.secure is False


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("plain/path", "has no scheme"),
        ("C:\\data", "has no scheme"),
        ("", "has no scheme"),
        ("echo://b#x", "write a literal '#' as %23"),
        ("echo://b?attempts=1&attempts=2", "gives the option 'attempts' twice"),
        ("echo://b?bucket=c", "its address gives it too"),
        ({}, "needs the key 'scheme' or 'url'"),
        ({"url": 5}, "needs the key 'scheme' or 'url'"),
        ({"scheme": 5}, "'scheme' must be text"),
    ],
)
def test_targets_that_name_no_storage(installed: Install, target: Any, message: str) -> None:
    """Each says what is wrong with it."""
    installed("good")
    with pytest.raises(StorageConfigError) as caught:
        open_storage(target)
    assert message in str(caught.value)


def test_percent_signs_in_the_query_are_decoded(installed: Install) -> None:
    """Query parameters are decoded once."""
    installed("good")
    assert open_storage("echo://b?region=a%2Fb%25").config.region == "a/b%"


@given(st.text())
def test_parsing_a_url_raises_nothing_else(text: str) -> None:
    """Any text is a URL or a StorageConfigError."""
    try:
        scheme, _ = parse_url(text)
    except StorageConfigError:
        return
    assert text.lower().startswith(scheme + ":")
