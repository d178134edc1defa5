"""A backend object is checked against the contract when it is opened; each misfit names its mend."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import pytest

from icechunk_core.contract import (
    Capabilities,
    DeleteResult,
    Storage,
    Version,
    binding,
    hookimpl,
    hookspec,
    open_backend,
)
from icechunk_core.contract.binding import OPTIONAL_HOOKS, REQUIRED_HOOKS, bind_hooks
from icechunk_core.contract.hookspecs import OperationHooks
from icechunk_core.drive import run_direct
from icechunk_core.errors import NotFound, PluginError, Unsupported


class Complete:
    """A backend with all hooks and nothing behind them."""

    @hookimpl
    def capabilities(self) -> Capabilities:
        return Capabilities(may_suspend=False, metadata=True)

    @hookimpl
    async def get_range(self, key: str, byte_range: Any, if_version: Any) -> Any:
        return key, byte_range, if_version

    @hookimpl
    async def put(
        self, key: str, data: Any, condition: Any, metadata: Any, content_type: Any, storage_class: Any
    ) -> Any:
        return key, data, condition, metadata, content_type, storage_class

    @hookimpl
    async def list(self, prefix: str, start_after: Any) -> Any:
        yield prefix, start_after

    @hookimpl
    async def head(self, key: str) -> Any:
        raise NotFound("nothing here", key=key)

    @hookimpl
    async def delete(self, keys: Any) -> Any:
        return [DeleteResult(key) for key in keys]

    @hookimpl
    async def copy(self, source: str, target: str) -> Any:
        return Version(f"{source} to {target}")

    @hookimpl
    async def sync(self, keys: Any) -> None:
        return None

    @hookimpl
    async def take_turn(self, key: str, seconds: float) -> Any:
        return None

    @hookimpl
    async def close(self) -> None:
        return None


def with_hook(name: str, function: Callable[..., Any], *, replaces: str | None = None) -> object:
    """A complete backend but for one hook."""
    members: dict[str, Any] = {name: hookimpl(function)}
    if replaces is not None:
        members[replaces] = None
    return type("Changed", (Complete,), members)()


def test_the_specification_names_all_hooks() -> None:
    """Every operation of the hookspec is either required or optional: none is forgotten by the binding."""
    specified = {name for name in vars(OperationHooks) if not name.startswith("_")}
    assert specified == {*REQUIRED_HOOKS, *OPTIONAL_HOOKS}


def test_a_complete_backend_is_bound() -> None:
    """All arguments arrive, by position, at the backend's own methods."""
    storage = open_backend(Complete(), plugin="complete")
    assert run_direct(storage.get_range_hook("k", None, None)) == ("k", None, None)
    assert run_direct(storage.put_hook(1, 2, 3, 4, 5, 6)) == (1, 2, 3, 4, 5, 6)
    assert storage.hook_names == {*REQUIRED_HOOKS, *OPTIONAL_HOOKS} - {"capabilities"}


def test_bound_hooks_are_the_methods_themselves() -> None:
    """No plugin machinery stands between the engine and a backend that takes all arguments."""
    backend = Complete()
    assert bind_hooks(backend, "complete")["put"] == backend.put


async def default(self: Any, key: str, byte_range: Any = None, if_version: Any = None) -> Any: ...
async def keyword_only(self: Any, key: str, *, byte_range: Any, if_version: Any) -> Any: ...
async def variadic(self: Any, *arguments: Any) -> Any: ...
async def keywords(self: Any, key: str, **rest: Any) -> Any: ...
async def misspelt_argument(self: Any, key: str, byte_rnge: Any, if_version: Any) -> Any: ...
async def misspelt_default(self: Any, key: str, byte_rnge: Any = None) -> Any: ...
def plain(self: Any, key: str, byte_range: Any, if_version: Any) -> Any: ...
async def generator(self: Any, key: str) -> Any:
    yield key


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (default, "gives 'byte_range' a default; remove it"),
        (keyword_only, "takes 'byte_range' by keyword only; remove the '*'"),
        (variadic, "takes *arguments; name the arguments instead"),
        (keywords, "takes *rest; name the arguments instead"),
        (misspelt_argument, "byte_rnge"),
        (misspelt_default, "gives 'byte_rnge' a default"),
        (plain, "must be a coroutine function; write 'async def'"),
        (generator, "must be a coroutine function; write 'async def'"),
    ],
)
def test_a_misfit_names_plugin_hook_and_mend(function: Callable[..., Any], message: str) -> None:
    """What pluggy would accept and then not call properly is refused when the storage is opened."""
    with pytest.raises(PluginError) as caught:
        open_backend(with_hook("get_range", function), plugin="shop")
    assert message in str(caught.value)
    assert "'shop'" in str(caught.value)
    assert "get_range" in str(caught.value)


async def list_coroutine(self: Any, prefix: str, start_after: Any) -> Any: ...
def list_plain(self: Any, prefix: str, start_after: Any) -> Any: ...
async def async_capabilities(self: Any) -> Any: ...


@pytest.mark.parametrize(
    ("name", "function", "message"),
    [
        ("list", list_coroutine, "must be an async generator"),
        ("list", list_plain, "must be an async generator"),
        ("capabilities", async_capabilities, "must be a plain function; write 'def'"),
    ],
)
def test_the_kind_of_function_is_checked(name: str, function: Callable[..., Any], message: str) -> None:
    """A coroutine where an async generator is due would fail at the first listing only."""
    with pytest.raises(PluginError, match=message):
        open_backend(with_hook(name, function), plugin="shop")


def test_an_unknown_hook_is_refused_with_a_guess() -> None:
    """A misspelt optional hook would otherwise never be called."""

    async def copi(self: Any, source: str, target: str) -> Any: ...

    with pytest.raises(PluginError, match=r"hook 'copi' is unknown; did you mean 'copy'\?"):
        open_backend(with_hook("copi", copi), plugin="shop")


def test_hook_wrappers_are_refused() -> None:
    """pluggy's hook wrappers do not work around coroutines; the error says what does."""

    def wrapper(self: Any, key: str) -> Any:
        yield

    backend = type("Wrapping", (Complete,), {"head": hookimpl(wrapper, wrapper=True)})()
    with pytest.raises(PluginError, match="icechunk_wrap_storage"):
        open_backend(backend, plugin="shop")


def test_missing_hooks_are_all_named() -> None:
    """One message tells everything that is missing."""

    class Half:
        @hookimpl
        async def head(self, key: str) -> Any: ...

    with pytest.raises(PluginError, match="lacks the hooks get_range, put, list, delete, close"):
        open_backend(Half(), plugin="half")


def test_a_method_without_the_marker_is_pointed_out() -> None:
    """A forgotten @hookimpl is not the same as a forgotten method."""

    class Unmarked(Complete):
        async def head(self, key: str) -> Any: ...

    with pytest.raises(PluginError, match="has head, but not marked as hooks; put @icechunk_core"):
        open_backend(Unmarked(), plugin="shop")


def test_capabilities_must_come_from_somewhere() -> None:
    """Neither a spec nor a hook: nothing would be known about the storage."""
    backend = type("Silent", (Complete,), {"capabilities": None})()
    with pytest.raises(PluginError, match="declares no capabilities"):
        open_backend(backend)


def test_an_older_plugin_keeps_working() -> None:
    """A plugin that knows fewer arguments than the contract gets those it knows, in its own order."""

    class Older(Complete):
        @hookimpl
        async def get_range(self, key: str) -> Any:
            return key

        @hookimpl
        async def put(self, data: Any, key: str) -> Any:
            return data, key

        @hookimpl
        async def close(self) -> Any:
            return "closed"

    storage = open_backend(Older(), plugin="older")
    assert run_direct(storage.get_range("k", None)) == "k"
    assert run_direct(storage.put("k", [b"data"])) == ([b"data"], "k")


def test_the_contract_can_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    """When a later contract adds arguments to every hook, today's complete plugin is called without them."""

    class Grown(OperationHooks):
        @hookspec(firstresult=True)
        async def head(self, key: str, consistency: str) -> Any:  # type: ignore[override]
            raise NotImplementedError

    monkeypatch.setattr("icechunk_core.contract.binding.OperationHooks", Grown)
    hooks = bind_hooks(Complete(), "today")
    with pytest.raises(NotFound):
        run_direct(hooks["head"]("k", "strong"))


def test_hooks_that_take_no_argument_can_gain_some() -> None:
    """A hook without arguments ignores those that a later contract passes."""

    class Quiet(Complete):
        @hookimpl
        async def sync(self) -> None:
            return None

    assert run_direct(open_backend(Quiet(), plugin="quiet").hook("sync")(["k"])) is None


# --- the bound storage -------------------------------------------------------


def test_optional_hooks_may_be_missing() -> None:
    """Without copy there is get and put; without sync nothing to do; asking for the hook says so."""
    stored: dict[str, Any] = {}

    class Plain(Complete):
        copy = None  # type: ignore[assignment]
        sync = None  # type: ignore[assignment]

        @hookimpl
        async def get_range(self, key: str) -> Any:
            from datetime import UTC, datetime

            from icechunk_core.contract import ObjectInfo

            return b"data", ObjectInfo(key, 4, None, datetime.now(UTC), {"k": "v"})

        @hookimpl
        async def put(self, key: str, data: Any, metadata: Any) -> Any:
            stored[key] = (data, metadata)
            return Version("1")

    storage = open_backend(Plain(), plugin="plain")
    assert run_direct(storage.copy("a", "b")) == Version("1")
    assert stored == {"b": ([b"data"], {"k": "v"})}
    run_direct(storage.sync(["b"]))
    with pytest.raises(Unsupported, match="'plain' has no 'copy'"):
        storage.hook("copy")


def test_put_takes_one_buffer_or_several() -> None:
    """A single buffer is wrapped; the hook always gets a sequence."""
    storage = open_backend(Complete(), plugin="complete")
    assert run_direct(storage.put("k", b"one"))[1] == [b"one"]  # type: ignore[index]
    assert run_direct(storage.put("k", [b"one", memoryview(b"two")]))[1][0] == b"one"  # type: ignore[index]


def test_a_wrapped_storage_refuses_to_pickle() -> None:
    """It would come back without its wrapper; registered wrappers come back (see the plugins' tests)."""
    storage = open_backend(Complete(), plugin="complete", config="c", reopen=Storage.__new__)

    async def head(*arguments: Any) -> Any: ...

    with pytest.raises(PluginError, match="by a wrapper"):
        pickle.dumps(storage.with_hooks(head=head))


def test_wrappers_are_checked() -> None:
    """A wrapper that replaces an unknown hook, or a hook by another kind of function, is told so."""
    storage = open_backend(Complete(), plugin="complete")
    with pytest.raises(PluginError, match=r"hook 'hed' is unknown; did you mean 'head'\?"):
        storage.with_hooks(hed=Complete().head)
    with pytest.raises(PluginError, match="must be a coroutine function"):
        storage.with_hooks(head=lambda key: None)


def test_storages_are_equal_by_plugin_and_configuration() -> None:
    """Without a configuration only the same object is equal."""
    first = open_backend(Complete(), plugin="p", config=("a",))
    second = open_backend(Complete(), plugin="p", config=("a",))
    assert first == second
    assert hash(first) == hash(second)
    assert first != open_backend(Complete(), plugin="q", config=("a",))
    assert first != open_backend(Complete(), plugin="p", config=("b",))
    assert open_backend(Complete()) != open_backend(Complete())
    assert first != "p"


def test_errors_of_a_backend_arrive_unchanged() -> None:
    """The binding adds nothing to what an operation raises."""
    storage = open_backend(Complete(), plugin="complete")
    with pytest.raises(NotFound) as caught:
        run_direct(storage.head("k"))
    assert caught.value.key == "k"
    assert run_direct(storage.exists("k")) is False


def test_a_class_is_checked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Further objects of a class are bound without a look at their hooks, each to its own methods."""

    class Named(Complete):
        def __init__(self, name: str) -> None:
            self.name = name

        @hookimpl
        async def head(self, key: str) -> Any:
            return self.name

        @hookimpl
        async def get_range(self, key: str) -> Any:
            return self.name, key

    bind_hooks(Named("first"), "named")
    monkeypatch.setattr(binding.inspect, "signature", None)  # a further look would fail
    for name in ("second", "third"):
        bound = bind_hooks(Named(name), "named")
        assert run_direct(bound["head"]("k")) == name
        assert run_direct(bound["get_range"]("k", None, None)) == (name, "k")


def test_a_method_that_was_replaced_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who changes a class, or gives an object a hook of its own, has that checked like any other."""

    class Changing(Complete):
        pass

    bind_hooks(Changing(), "changing")

    @hookimpl
    async def head(self: Any, key: str, more: Any) -> Any:
        return key

    with monkeypatch.context() as changed:
        changed.setattr(Changing, "head", head)
        with pytest.raises(PluginError, match="more"):
            bind_hooks(Changing(), "changing")
    bind_hooks(Changing(), "changing")

    @hookimpl
    async def stranger(key: str) -> Any:
        return key

    odd = Changing()
    odd.stranger = stranger  # type: ignore[attr-defined]
    with pytest.raises(PluginError, match="stranger"):
        bind_hooks(odd, "changing")
