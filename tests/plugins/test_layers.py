"""Wrappers that a URL names: ``suffixed+memory:``."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from attrs import frozen

from icechunk_core.contract import Storage, WrapperSpec
from icechunk_core.errors import PluginError, StorageConfigError
from icechunk_core.plugins import (
    DISABLE_VARIABLE,
    PluginKind,
    PluginState,
    known_wrappers,
    list_plugins,
    open_storage,
    register_wrapper,
    register_wrapper_spec,
    unregister_wrapper,
    unregister_wrapper_spec,
)
from icechunk_core.storage import as_storage
from tests.plugins.test_registration import marking, written_key

Install: TypeAlias = Callable[..., None]


@frozen
class MarkConfig:
    """The configuration of the wrapper below."""

    mark: str = "-mark"


def mark_it(storage: Storage, config: MarkConfig) -> Storage:
    """A wrapper for URLs."""
    return marking(config.mark)(storage, {})


MARKED = WrapperSpec("marked", MarkConfig, mark_it)


@pytest.fixture
def marked() -> Iterator[None]:
    """The wrapper ``marked``, registered in code."""
    register_wrapper_spec(MARKED)
    yield
    unregister_wrapper_spec("marked")


def test_the_scheme_names_an_installed_wrapper(installed: Install) -> None:
    """What stands before the ``+`` is found by its entry point, and wraps the storage."""
    installed("layered")
    assert "suffixed" in known_wrappers()
    assert written_key(open_storage("suffixed+memory:")) == "x-suffix"
    assert written_key(open_storage("memory:")) == "x"


@pytest.mark.parametrize(
    ("target", "options"),
    [
        ("suffixed+memory:?suffixed.suffix=-a&suffixed.times=2&read_only=false", {}),
        ("suffixed+memory:", {"suffixed": {"suffix": "-a", "times": 2}}),
        ("suffixed+memory:?suffixed.times=2", {"suffixed.suffix": "-a"}),
        ({"scheme": "suffixed+memory", "suffixed": {"suffix": "-a"}, "suffixed.times": "2"}, {}),
        ({"url": "suffixed+memory:", "suffixed.suffix": "-a"}, {"suffixed.times": 2}),
    ],
)
def test_options_of_a_wrapper(installed: Install, target: Any, options: dict[str, Any]) -> None:
    """They stand beside those of the storage, as ``name.option`` or in a mapping, in each way to open one."""
    installed("layered")
    assert written_key(open_storage(target, **options)) == "x-a-a"


def test_the_first_named_is_the_outermost(installed: Install, marked: None) -> None:
    """Layers go from right to left; those registered for every storage are around all of them."""
    installed("layered")
    register_wrapper(marking("-all"), name="all")
    try:
        assert written_key(open_storage("suffixed+marked+memory:")) == "x-all-suffix-mark"
    finally:
        unregister_wrapper("all")


def test_short_urls_are_no_paths(marked: None) -> None:
    """``marked+memory:name`` is a URL where ``memory:name`` is."""
    assert written_key(as_storage("marked+memory:short-url")) == "x-mark"


def test_a_wrapper_in_front_of_a_path_is_refused(
    marked: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a directory of a strange name would be made, without the wrapper; a path that says so is one."""
    monkeypatch.chdir(tmp_path)
    for path in ("marked+./here", "marked+/tmp/here", "marked+here?marked.mark=x"):
        with pytest.raises(StorageConfigError, match=r"write marked\+file:///absolute/path"):
            as_storage(path)
    assert "marked+here" in repr(as_storage("./marked+here"))
    assert "other+here" in repr(as_storage("other+here"))


def test_a_wrapped_storage_pickles_with_its_layers(installed: Install) -> None:
    """It comes back wrapped, with the same options."""
    installed("layered")
    storage = open_storage("suffixed+memory:?suffixed.suffix=-there")
    assert written_key(pickle.loads(pickle.dumps(storage))) == "x-there"


def test_unpickling_without_the_plugin_is_refused() -> None:
    """A storage that was wrapped does not come back as one that is not."""
    register_wrapper_spec(MARKED)
    storage = open_storage("marked+memory:")
    pickled = pickle.dumps(storage)
    unregister_wrapper_spec("marked")
    with pytest.raises(PluginError, match="no storage wrapper 'marked' is installed here"):
        pickle.loads(pickled)


def test_layers_belong_to_what_a_storage_is(marked: None) -> None:
    """Equality and ``repr`` tell a wrapped storage from the one inside, and another option too."""
    plain, wrapped = open_storage("memory:layers"), open_storage("marked+memory:layers")
    assert plain != wrapped
    assert wrapped == open_storage("marked+memory:layers")
    assert wrapped != open_storage("marked+memory:layers?marked.mark=-other")
    assert repr(wrapped).startswith("<Storage marked(MarkConfig(mark='-mark'), MemoryConfig(")
    assert hash(wrapped) == hash(open_storage("marked+memory:layers"))


def test_reconfigured_keeps_the_layers(marked: None) -> None:
    """Changing an option of the backend leaves what is around it in place."""
    storage = open_storage("marked+memory:reconfigured").reconfigured(name="elsewhere")
    assert [name for name, _ in storage.layers] == ["marked"]
    assert written_key(storage) == "x-mark"


@pytest.mark.parametrize(
    ("url", "error", "message"),
    [
        ("suffixed+memory:?suffixed.sufix=a", StorageConfigError, "did you mean 'suffix'"),
        ("suffixed+memory:?suffixed.times=often", StorageConfigError, "suffixed storage: option 'times'"),
        ("suffixed+memory:?suffixed=a", StorageConfigError, "write suffixed.option=value"),
        ("suffixed+suffixed+memory:", StorageConfigError, "twice"),
        ("memory:?suffixed.times=2", StorageConfigError, "no option 'suffixed.times'"),
        ("squeezed+memory:", PluginError, "no wrapper 'squeezed' either .installed are: suffixed"),
        ("suffixed+nothing:", PluginError, "no storage plugin opens URLs with the scheme 'nothing'"),
        ("suffixed+memory:?suffixed.password=wrong+password", PluginError, r"cannot use \*\*\*"),
    ],
)
def test_mistakes_are_named(installed: Install, url: str, error: type[Exception], message: str) -> None:
    """Wrong options, unknown wrappers and failures say which wrapper it was, and show no secret."""
    installed("layered")
    with pytest.raises(error, match=message) as caught:
        open_storage(url)
    assert "wrong password" not in str(caught.value)
    assert caught.value.__cause__ is None or "wrong password" not in str(caught.value.__cause__)


def test_a_wrapper_returns_a_storage() -> None:
    """Anything else is the plugin's mistake."""
    register_wrapper_spec(WrapperSpec("odd", MarkConfig, lambda storage, config: 42))  # type: ignore[arg-type, return-value]
    with pytest.raises(PluginError, match=r"'odd' \(registered in code\) returned a int, not a Storage"):
        open_storage("odd+memory:")


@pytest.mark.parametrize("name", ["Upper", "with+plus", "", "1st"])
def test_names_that_no_url_can_have(name: str) -> None:
    """A wrapper's name must be one that a scheme can hold, without a ``+``."""
    with pytest.raises(PluginError, match="names begin with a lower-case letter"):
        register_wrapper_spec(WrapperSpec(name, MarkConfig, mark_it))


def test_a_taken_name_is_refused(installed: Install, marked: None) -> None:
    """Two wrappers of one name are an error, unless the newer one is to replace the other."""
    installed("layered")
    with pytest.raises(PluginError, match="'marked' already, registered in code"):
        register_wrapper_spec(WrapperSpec("marked", MarkConfig, lambda storage, _: storage))
    with pytest.raises(PluginError, match=r"'suffixed' already, layered-storage 1\.0"):
        register_wrapper_spec(WrapperSpec("suffixed", MarkConfig, mark_it))
    register_wrapper_spec(WrapperSpec("suffixed", MarkConfig, mark_it), replace=True)
    assert written_key(open_storage("suffixed+memory:")) == "x-mark"
    with pytest.raises(PluginError, match="no wrapper 'nobody'"):
        unregister_wrapper_spec("nobody")


def test_the_listing_tells_wrappers_from_backends(installed: Install, marked: None) -> None:
    """Wrappers are listed with their kind, broken ones with what is wrong."""
    installed("layered", "broken_layer")
    records = {each.name: each for each in list_plugins(check=True) if each.kind is PluginKind.WRAPPER}
    assert records["suffixed"].state is PluginState.LOADED
    assert records["marked"].target == "mark_it"
    assert records["other"].state is PluginState.BROKEN
    assert "its wrappers are this-one; name the entry point like the wrapper" in str(records["other"].error)


def test_disabled_wrappers_are_not_used(installed: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment variable that switches plugins off holds for wrappers."""
    installed("layered")
    monkeypatch.setenv(DISABLE_VARIABLE, "layered_storage")
    with pytest.raises(PluginError, match="no wrapper 'suffixed'"):
        open_storage("suffixed+memory:")
    (record,) = [each for each in list_plugins() if each.name == "suffixed"]
    assert record.state is PluginState.DISABLED
