"""Object keys."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icechunk_core.error_kinds import ErrorKind
from icechunk_core.errors import InvalidInputError
from icechunk_core.format import layout
from tests.format.strategies import object_ids
from tests.vectors_support import SPEC_1_NAMES, load_vector

ref_names = st.text(st.characters(codec="utf-8", exclude_characters="/"), min_size=1)


def test_keys() -> None:
    """Each kind of object has its prefix."""
    text = "000G40R40M30E209185G"
    id = bytes(range(12))
    assert layout.snapshot_key(id) == f"snapshots/{text}"
    assert layout.manifest_key(id) == f"manifests/{text}"
    assert layout.transaction_key(id) == f"transactions/{text}"
    assert layout.chunk_key(id) == f"chunks/{text}"
    assert layout.snapshot_key(layout.INITIAL_SNAPSHOT_ID) == "snapshots/1CECHNKREP0F1RSTCMT0"


@given(object_ids)
def test_ids_are_found_in_keys(id: bytes) -> None:
    """The id of a key is the one it was made from, and only below its own prefix."""
    assert layout.id_of_key(layout.chunk_key(id), layout.CHUNKS_PREFIX) == id
    assert layout.id_of_key(layout.chunk_key(id), layout.SNAPSHOTS_PREFIX) is None


@pytest.mark.parametrize(
    "key",
    [
        "chunks/",
        "chunks/notes.txt",
        "chunks/000g40r40m30e209185g",
        "chunks/000G40R40M30E209185H",
        "chunks/a/b",
    ],
)
def test_other_names_have_no_id(key: str) -> None:
    """Names that are no id in canonical spelling are not taken for one."""
    assert layout.id_of_key(key, layout.CHUNKS_PREFIX) is None


def test_backup_names_sort_newest_first() -> None:
    """Names count down to the year 3000, with 14 digits."""
    id = bytes(12)
    old, new = (
        layout.backup_name("repo", time, id) for time in (1_000_000_000_000_000, 2_000_000_000_000_000)
    )
    assert new < old
    assert old == "repo.31503680000000.00000000000000000000"
    assert layout.backup_name("config.yaml", 32_503_679_999_000_000, id).startswith(
        "config.yaml.00000000001000."
    )
    assert layout.backup_key(old) == f"overwritten/{old}"


@given(ref_names, st.booleans())
def test_ref_keys_round_trip(name: str, escape: bool) -> None:
    """Branch, tag and tombstone keys give their name back, escaped or not."""
    for key, expected in (
        (layout.branch_key(name, escape=escape), ("branch", name, False)),
        (layout.tag_key(name, escape=escape), ("tag", name, False)),
        (layout.tombstone_key(name, escape=escape), ("tag", name, True)),
    ):
        assert layout.parse_ref_key(key, escaped=escape) == expected
        assert key.isascii() or not escape


def test_escaping_matches_stored_repositories() -> None:
    """Every ref key of the spec 1 vectors is the key of the name that it stands for."""
    for vector in map(load_vector, SPEC_1_NAMES):
        for key in vector.keys("refs"):
            parsed = layout.parse_ref_key(key, escaped=True)
            assert parsed is not None
            kind, name, tombstone = parsed
            key_of = layout.branch_key if kind == "branch" else layout.tag_key
            made = key_of(name, escape=True)
            assert made + (".deleted" if tombstone else "") == key


@pytest.mark.parametrize(
    "key",
    [
        "refs/other.x/ref.json",
        "refs/branch.x/ref.json.deleted",
        "refs/tag.x/y",
        "repo",
    ],
)
def test_other_keys_are_no_refs(key: str) -> None:
    """What has not the form of a ref key is not taken for one."""
    assert layout.parse_ref_key(key) is None


def test_slashes_are_refused() -> None:
    """Spec 1 ref names have no slash; the empty one is a name as Icechunk has it."""
    assert layout.parse_ref_key(layout.branch_key("")) == ("branch", "", False)
    with pytest.raises(InvalidInputError) as caught:
        layout.branch_key("a/b")
    assert caught.value.kind == ErrorKind.INVALID_REF_NAME


def test_new_names_are_portable() -> None:
    """New spec 1 names are limited to what every storage keeps as it is."""
    layout.validate_ref_name_v1("v1.0 (final) $&'+,-:;=@_!")
    for name in ("étiquette", "a/b", "50%", "a\nb", "x~y"):
        with pytest.raises(InvalidInputError, match="ref name"):
            layout.validate_ref_name_v1(name)
