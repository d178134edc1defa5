"""Plugins are found by their entry points, loaded one by one, and fail one by one."""

from __future__ import annotations

import importlib
import pickle
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from icechunk_core.drive import run_direct
from icechunk_core.errors import PluginError
from icechunk_core.plugins import (
    DISABLE_VARIABLE,
    PluginRecord,
    PluginState,
    known_schemes,
    list_plugins,
    open_storage,
)
from tests.plugins.support import DISTRIBUTIONS, modules_of

Install = Callable[..., None]


def record(name: str, distribution: str | None = None, *, check: bool = False) -> PluginRecord:
    """The one record of that scheme (and distribution)."""
    (found,) = [
        each
        for each in list_plugins(check=check)
        if each.name == name and distribution in (None, each.distribution)
    ]
    return found


def test_an_installed_plugin_opens_by_its_scheme(installed: Install) -> None:
    """A distribution with an entry point is all it takes: the URL opens, and the storage works."""
    installed("good")
    storage = open_storage("echo://bucket?region=north")
    run_direct(storage.put("a", b"hello"))
    data, info = run_direct(storage.get_range("a"))
    assert (bytes(data), info.size) == (b"hello", 5)
    assert storage.config.bucket == "bucket"
    assert storage.config.region == "north"


def test_a_plugin_that_leaves_arguments_out_keeps_working(installed: Install) -> None:
    """The test plugin takes fewer arguments than the contract has, as a plugin of an older contract does."""
    installed("good")
    storage = open_storage("echo://bucket")
    run_direct(storage.put("a", b"1", content_type="text/plain", storage_class="cold"))

    async def keys() -> list[str]:
        return [info.key async for info in storage.list("", start_after=None)]

    assert run_direct(keys()) == ["a"]


def test_listing_imports_nothing(installed: Install) -> None:
    """The listing reads metadata only: distribution, version and target are known, nothing is imported."""
    installed("good", "broken")
    found = record("echo")
    assert (found.distribution, found.version, found.target, found.state) == (
        "echo-storage",
        "1.2",
        "echo_storage.plugin",
        PluginState.NOT_LOADED,
    )
    assert record("broken").state is PluginState.NOT_LOADED
    assert modules_of("good").isdisjoint(sys.modules)
    assert modules_of("broken").isdisjoint(sys.modules)


def test_opening_loads_only_that_plugin(installed: Install) -> None:
    """Opening one scheme imports its plugin and no other, and the listing says so."""
    installed("good", "outdated", "wrapping")
    open_storage("echo://bucket")
    assert record("echo").state is PluginState.LOADED
    assert record("outdated").state is PluginState.NOT_LOADED
    assert modules_of("wrapping").isdisjoint(sys.modules)


def test_a_plugin_installed_meanwhile_is_found(
    installed: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is installed while a program runs can be opened at once, though scans are remembered."""
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(PluginError, match="no storage plugin opens"):
        open_storage("echo://bucket")
    shutil.copytree(DISTRIBUTIONS / "good", tmp_path, dirs_exist_ok=True)
    importlib.invalidate_caches()
    assert open_storage("echo://bucket")


def test_opening_again_does_not_scan_again(installed: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    """Storages are unpickled in every task of a cluster: the metadata are read once."""
    installed("good")
    storage = open_storage("echo://bucket")
    monkeypatch.setattr("importlib.metadata.entry_points", lambda **_: pytest.fail("scanned again"))
    assert pickle.loads(pickle.dumps(storage)) == storage


def test_schemes_are_compared_without_case(installed: Install) -> None:
    """Schemes are case-insensitive, as in any URL."""
    installed("good")
    assert open_storage("ECHO://bucket") == open_storage("echo://bucket")


def test_a_broken_plugin_breaks_only_its_scheme(installed: Install) -> None:
    """A plugin that raises at import: its own scheme says why, all others open."""
    installed("broken", "good")
    with pytest.raises(
        PluginError, match=r"broken-storage 0\.3.*RuntimeError: this plugin is broken"
    ) as caught:
        open_storage("broken://x")
    assert caught.value.kind == "plugin-broken"
    assert isinstance(caught.value.__cause__, RuntimeError)
    assert open_storage("echo://bucket")
    assert open_storage("memory:")


@pytest.mark.parametrize("how", ["opened", "checked"])
def test_the_listing_shows_why_a_plugin_is_broken(installed: Install, how: str) -> None:
    """After a failed open, or with check=True, the record has the message and the traceback."""
    installed("broken")
    if how == "opened":
        with pytest.raises(PluginError):
            open_storage("broken://x")
    found = record("broken", check=how == "checked")
    assert found.state is PluginState.BROKEN
    assert "broken_storage.py" in str(found.traceback)
    assert "RuntimeError: this plugin is broken inside" in str(found.traceback)
    assert "could not be loaded" in str(found.error)


def test_checking_loads_every_plugin(installed: Install) -> None:
    """check=True reports on all plugins, whatever is wrong with some."""
    installed("good", "broken", "outdated", "bad_hook")
    states = {each.name: each.state for each in list_plugins(check=True)}
    assert states["echo"] is PluginState.LOADED
    assert states["memory"] is PluginState.LOADED
    assert states["file"] is PluginState.LOADED
    assert {states[name] for name in ("broken", "outdated", "misspelt")} == {PluginState.BROKEN}


def test_two_plugins_with_one_scheme_are_an_error_that_names_both(installed: Install) -> None:
    """Which of two plugins opens a URL must not depend on the order of installation."""
    installed("good", "duplicate")
    with pytest.raises(PluginError, match=r"echo-storage 1\.2.*rival-storage 2\.0") as caught:
        open_storage("echo://bucket")
    assert caught.value.kind == "plugin-conflict"
    for distribution in ("echo-storage", "rival-storage"):
        found = record("echo", distribution)
        assert found.state is PluginState.CONFLICT
        assert "rival-storage" in str(found.error)


def test_disabling_one_of_two_solves_the_conflict(
    installed: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The environment variable takes distributions too, so that a conflict can be settled."""
    installed("good", "duplicate")
    monkeypatch.setenv(DISABLE_VARIABLE, "rival_storage")
    assert open_storage("echo://bucket").config.bucket == "bucket"
    assert record("echo", "rival-storage").state is PluginState.DISABLED
    assert record("echo", "echo-storage").state is PluginState.LOADED


@pytest.mark.parametrize("value", ["echo", "Echo", "other, echo", "echo-storage", "all"])
def test_a_disabled_plugin_is_not_loaded(
    installed: Install, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    """What the environment switches off is not opened, even if it is loaded; the error says so."""
    installed("good")
    open_storage("echo://bucket")
    monkeypatch.setenv(DISABLE_VARIABLE, value)
    with pytest.raises(
        PluginError, match=rf"disabled by the environment variable {DISABLE_VARIABLE}"
    ) as caught:
        open_storage("echo://bucket")
    assert caught.value.kind == "plugin-disabled"
    assert record("echo").state is PluginState.DISABLED
    assert "echo" not in known_schemes()


def test_a_disabled_plugin_is_not_imported_by_a_check(
    installed: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    """check=True leaves disabled plugins alone: that is what the switch is for."""
    installed("broken")
    monkeypatch.setenv(DISABLE_VARIABLE, "broken")
    assert record("broken", check=True).state is PluginState.DISABLED
    assert modules_of("broken").isdisjoint(sys.modules)


def test_an_outdated_plugin_says_what_to_upgrade(installed: Install) -> None:
    """A plugin for an older contract is refused with the command that upgrades it."""
    installed("outdated")
    with pytest.raises(PluginError, match="pip install --upgrade outdated-storage") as caught:
        open_storage("outdated://x")
    assert caught.value.kind == "plugin-outdated"


def test_a_plugin_from_the_future_says_to_upgrade_the_core(installed: Install) -> None:
    """A plugin for a newer contract is refused with the command that upgrades icechunk-core."""
    installed("too_new")
    with pytest.raises(PluginError, match="pip install --upgrade icechunk-core"):
        open_storage("future://x")


def test_a_missing_package_is_told_with_the_plugins_own_hint(installed: Install) -> None:
    """A package that is missing when a storage is opened: the error has the plugin's install hint."""
    installed("missing_package")
    with pytest.raises(
        PluginError, match=r"sdk_that_nobody_has.*pip install 'sdk-storage\[service\]'"
    ) as caught:
        open_storage("sdk://x")
    assert caught.value.kind == "plugin-needs-package"
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)


def test_a_missing_sdk_of_a_first_party_scheme_names_the_extra(
    installed: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A package that is missing at import, for a scheme of ours: the error names the extra."""
    monkeypatch.setenv(DISABLE_VARIABLE, "icechunk-core")
    installed("missing_sdk")
    with pytest.raises(PluginError, match=r"another_sdk_that_nobody_has.*'icechunk-core\[s3\]'"):
        open_storage("s3://bucket")


def test_an_unknown_hook_of_a_plugin_is_refused(installed: Install) -> None:
    """A misspelt declaration hook would otherwise be ignored in silence."""
    installed("bad_hook")
    with pytest.raises(PluginError, match="unknown declaration hook 'icechunk_backend'"):
        open_storage("misspelt://x")


def test_a_module_without_declaration_is_refused(installed: Install) -> None:
    """An entry point to a module that declares nothing names the missing hook."""
    installed("no_declaration")
    with pytest.raises(PluginError, match="lacks the hook icechunk_backends"):
        open_storage("silent://x")


def test_the_entry_point_is_named_like_the_scheme(installed: Install) -> None:
    """Otherwise a plugin could be found under one name and open another."""
    installed("wrong_scheme")
    with pytest.raises(PluginError, match="entry point is named 'misnamed', but its backends open named"):
        open_storage("misnamed://x")


def test_an_unknown_scheme_lists_what_is_installed(installed: Install) -> None:
    """The reader sees what could have been meant."""
    installed("good")
    with pytest.raises(PluginError, match=r"'ekho' \(installed are: .*echo, .*file, .*memory") as caught:
        open_storage("ekho://bucket")
    assert caught.value.kind == "plugin-missing"


@pytest.mark.parametrize(
    ("scheme", "extra"),
    [
        ("s3", "s3"),
        ("gs", "gcs"),
        ("gcs", "gcs"),
        ("az", "azure"),
        ("abfs", "azure"),
        ("azure", "azure"),
        ("http", "http"),
        ("https", "http"),
    ],
)
def test_a_missing_first_party_plugin_names_its_extra(
    monkeypatch: pytest.MonkeyPatch, scheme: str, extra: str
) -> None:
    """Whoever opens an S3 URL without the plugin learns how to install it."""
    from icechunk_core.plugins import registry

    monkeypatch.setattr(registry, "candidates", list)
    monkeypatch.setattr(registry, "candidates_for", lambda _: [])
    with pytest.raises(PluginError, match=rf"pip install 'icechunk-core\[{extra}\]'"):
        open_storage(f"{scheme}://bucket/prefix")


def test_a_storage_of_a_plugin_pickles_by_scheme_and_configuration(installed: Install) -> None:
    """The other side opens it anew with its own plugin; with the plugin disabled it says so."""
    installed("good")
    storage = open_storage("echo://bucket?password=hush")
    again = pickle.loads(pickle.dumps(storage))
    assert again == storage
    assert again.config.password == "hush"


def test_unpickling_needs_the_plugin(installed: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pickle does not get around the switch."""
    installed("good")
    pickled = pickle.dumps(open_storage("echo://bucket"))
    monkeypatch.setenv(DISABLE_VARIABLE, "all")
    with pytest.raises(PluginError, match="disabled"):
        pickle.loads(pickled)
