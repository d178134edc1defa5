"""Backends and wrappers registered in code, and storages that are objects."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from attrs import frozen

from icechunk_core.contract import ALWAYS, BackendSpec, Storage
from icechunk_core.drive import run_direct
from icechunk_core.errors import PluginError, StorageConfigError, Unavailable
from icechunk_core.plugins import (
    PluginState,
    list_plugins,
    open_storage,
    register_backend,
    register_wrapper,
    unregister_backend,
    unregister_wrapper,
)
from icechunk_memory._config import MemoryConfig
from icechunk_memory._storage import CAPABILITIES, MemoryStorage

Install = Callable[..., None]


def spec(name: str = "mine", schemes: tuple[str, ...] = ("mine",), **changed: Any) -> BackendSpec:
    """A backend that keeps its objects in memory."""
    values: dict[str, Any] = {
        "config": MemoryConfig,
        "capabilities": CAPABILITIES,
        "factory": MemoryStorage,
        "options_from_url": lambda url: {"name": url.netloc} if url.netloc else {},
    }
    return BackendSpec(name=name, schemes=schemes, **(values | changed))


# --- backends ----------------------------------------------------------------


def test_a_registered_backend_opens_by_all_its_schemes() -> None:
    """Registered in code, a backend opens like an installed one and is in the listing."""
    register_backend(spec(schemes=("mine", "our")))
    assert open_storage("mine://x") == open_storage("our://x")
    records = {each.name: each for each in list_plugins()}
    assert records["mine"].state is PluginState.LOADED
    assert records["our"].distribution == ""


def test_unregistering_forgets_all_schemes_of_the_backend() -> None:
    """Nothing of the backend stays behind; a second time is an error."""
    register_backend(spec(schemes=("mine", "our")))
    unregister_backend("our")
    with pytest.raises(PluginError, match="no storage plugin opens"):
        open_storage("mine://x")
    with pytest.raises(PluginError, match="no backend was registered"):
        unregister_backend("mine")


def test_a_taken_scheme_is_refused_unless_replaced() -> None:
    """A second backend does not take a scheme over by accident; the same one again is no conflict."""
    mine = spec()
    register_backend(mine)
    register_backend(mine)
    with pytest.raises(PluginError, match="registered already, for the backend 'mine'"):
        register_backend(spec("other"))
    register_backend(spec("other"), replace=True)
    assert open_storage("mine://x").plugin == "other"


def test_an_installed_scheme_is_refused_unless_replaced() -> None:
    """The same holds for the scheme of an installed plugin, which is not imported to find out."""
    with pytest.raises(PluginError, match="opened by the installed plugin icechunk-core"):
        register_backend(spec(schemes=("memory",)))
    register_backend(spec(schemes=("memory",)), replace=True)
    assert open_storage("memory://x").plugin == "mine"


@pytest.mark.parametrize(
    ("changed", "message"),
    [({"api_version": 0}, "upgrade the plugin"), ({"config": dict}, "no attrs class")],
)
def test_a_registered_backend_is_checked(changed: dict[str, Any], message: str) -> None:
    """The checks of installed plugins hold for backends in code."""
    with pytest.raises(PluginError, match=message):
        register_backend(spec(**changed))


def test_something_else_than_a_backend_is_refused() -> None:
    """Forgetting to make a BackendSpec says so."""
    with pytest.raises(PluginError, match="declares a dict instead of a BackendSpec"):
        register_backend({})  # type: ignore[arg-type]


def test_a_storage_of_a_registered_backend_pickles() -> None:
    """It opens anew by scheme and configuration; where nobody registered the backend, the error says so."""
    register_backend(spec())
    storage = open_storage("mine://x")
    pickled = pickle.dumps(storage)
    assert pickle.loads(pickled) == storage
    unregister_backend("mine")
    with pytest.raises(PluginError, match="no storage plugin opens URLs with the scheme 'mine'"):
        pickle.loads(pickled)


def test_a_pickle_is_not_opened_by_another_plugin_of_the_scheme() -> None:
    """Another backend behind the same scheme does not get a configuration it never declared."""

    @frozen
    class OtherConfig:
        pass

    register_backend(spec())
    pickled = pickle.dumps(open_storage("mine://x"))
    register_backend(spec("other", config=OtherConfig), replace=True)
    with pytest.raises(PluginError, match="configuration of another plugin"):
        pickle.loads(pickled)


def test_a_factory_that_fails_names_the_backend_and_the_error() -> None:
    """Errors of a plugin become a PluginError with the cause; storage errors pass through."""

    def fail(config: Any) -> object:
        raise RuntimeError("no such bucket")

    def unavailable(config: Any) -> object:
        raise Unavailable("come back later")

    register_backend(spec(factory=fail))
    with pytest.raises(PluginError, match=r"'mine'.*RuntimeError: no such bucket"):
        open_storage("mine://x")
    register_backend(spec(factory=unavailable), replace=True)
    with pytest.raises(Unavailable, match="come back later"):
        open_storage("mine://x")


# --- objects -----------------------------------------------------------------


def test_a_storage_is_passed_through() -> None:
    """An open Storage is returned as it is; options make no sense with it."""
    storage = open_storage("memory:")
    assert open_storage(storage) is storage
    with pytest.raises(StorageConfigError, match="open already"):
        open_storage(storage, read_only=True)


def test_a_backend_object_can_be_passed_directly() -> None:
    """No registration is needed to use an object that implements the hooks."""
    storage = open_storage(MemoryStorage(MemoryConfig()))
    run_direct(storage.put("a", b"1"))
    assert run_direct(storage.exists("a"))


def test_a_storage_made_from_an_object_refuses_to_pickle() -> None:
    """Nobody could open it anew; the error says how to change that."""
    storage = open_storage(MemoryStorage(MemoryConfig()))
    with pytest.raises(PluginError, match="register_backend"):
        pickle.dumps(storage)


def test_a_class_in_place_of_an_object_says_so() -> None:
    """A forgotten pair of brackets is a common slip."""
    with pytest.raises(PluginError, match="MemoryStorage is a class"):
        open_storage(MemoryStorage)


# --- wrappers ----------------------------------------------------------------


def marking(mark: str) -> Callable[[Storage, Mapping[str, Any]], Storage]:
    """A wrapper that adds a mark to every key that is written."""

    def wrap(storage: Storage, config: Mapping[str, Any]) -> Storage:
        inner = storage.put_hook

        async def put(key: str, *arguments: Any) -> Any:
            return await inner(key + mark, *arguments)

        return storage.with_hooks(put=put)

    return wrap


def written_key(storage: Storage) -> str:
    """Under which key the storage keeps what is written as ``x``."""
    run_direct(storage.put_hook("x", [b""], ALWAYS, None, None, None))

    async def keys() -> list[str]:
        return [info.key async for info in storage.list()]

    (key,) = run_direct(keys())
    return key


def test_wrappers_are_applied_in_order() -> None:
    """Lower order is nearer to the storage; equal orders keep the order of registration."""
    register_wrapper(marking("-second"), name="second", order=5)
    register_wrapper(marking("-third"), name="third", order=5)
    register_wrapper(marking("-first"), name="first", order=1)
    # The outermost wrapper changes the key first.
    assert written_key(open_storage("memory:")) == "x-third-second-first"


def test_a_plugin_wraps_the_storages_that_it_opens(installed: Install) -> None:
    """The hook of the plugin itself comes before those registered in code, and sees the options."""
    installed("wrapping")
    register_wrapper(marking("-outer"), name="outer")
    assert written_key(open_storage({"scheme": "wrapped"})) == "X-OUTER"
    import wrapping_storage

    assert wrapping_storage.seen[-1] == {"name": None, "read_only": False}


def test_plugins_do_not_wrap_each_others_storages(installed: Install) -> None:
    """Installing a plugin changes nothing about the storages of others."""
    installed("wrapping")
    open_storage({"scheme": "wrapped"})
    assert written_key(open_storage("memory:")) == "x"


def test_an_unregistered_wrapper_is_not_applied() -> None:
    """Registration ends; a second time is an error, and so is a taken name."""
    register_wrapper(marking("-mark"), name="mark")
    with pytest.raises(PluginError, match="registered already"):
        register_wrapper(marking("-mark"), name="mark")
    unregister_wrapper("mark")
    assert written_key(open_storage("memory:")) == "x"
    with pytest.raises(PluginError, match="no storage wrapper 'mark'"):
        unregister_wrapper("mark")


def test_a_wrapper_may_leave_a_storage_alone() -> None:
    """``None`` means that the storage stays as it is, also after pickling."""
    register_wrapper(lambda storage, config: None, name="never")
    storage = open_storage("memory:")
    unregister_wrapper("never")
    assert pickle.loads(pickle.dumps(storage)) == storage


def test_a_pickled_storage_is_wrapped_again() -> None:
    """What decorates a storage here decorates it where it is unpickled."""
    register_wrapper(marking("-mark"), name="mark")
    storage = open_storage("memory:")
    assert written_key(pickle.loads(pickle.dumps(storage))) == "x-mark"


def test_unpickling_without_the_wrapper_is_refused() -> None:
    """A storage that was, say, encrypted does not come back as one that is not."""
    register_wrapper(marking("-mark"), name="mark")
    storage = open_storage("memory:")
    pickled = pickle.dumps(storage)
    unregister_wrapper("mark")
    with pytest.raises(PluginError, match="opened with the wrapper 'mark'"):
        pickle.loads(pickled)


@pytest.mark.parametrize(
    ("wrap", "message"),
    [
        (lambda storage, config: 42, "returned a int, not a Storage"),
        (lambda storage, config: 1 / 0, "ZeroDivision"),
    ],
)
def test_a_wrapper_that_misbehaves_is_named(wrap: Any, message: str) -> None:
    """The error says which wrapper and what it did."""
    register_wrapper(wrap, name="odd")
    with pytest.raises(PluginError, match=f"'odd'.*{message}"):
        open_storage("memory:")
