"""Paths that are read from files stay inside."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from c2o_evidence.errors import UnsafePathError
from c2o_evidence.paths import path_fault, resolve_inside, safe_relative


@pytest.mark.parametrize("text", ["a", "train/baseline/seed0/model.safetensors", "..a/b..", ".hidden", "a b"])
def test_plain_paths(text, tmp_path):
    assert safe_relative(text).as_posix() == text
    assert resolve_inside(tmp_path, text) == tmp_path / text


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "the path is empty"),
        ("/etc/passwd", "the path is absolute"),
        ("../a", "the path climbs out of its directory"),
        ("a/../../b", "the path climbs out of its directory"),
        ("a//b", "the path is not in its shortest form"),
        ("./a", "the path is not in its shortest form"),
        ("a/", "the path is not in its shortest form"),
        ("a\\b", "the path is not in POSIX form"),
        ("C:/a", "the path is not in POSIX form"),
        ("a\nb", "the path has a control character"),
        ("a\x00", "the path has a control character"),
    ],
)
def test_unsafe_paths(text, fault, tmp_path):
    assert path_fault(text) == fault
    with pytest.raises(UnsafePathError, match=f"{fault}; only a plain path relative to its directory is accepted"):
        resolve_inside(tmp_path, text)


@given(st.lists(st.sampled_from(["a", "..", ".", "", "b\\", "c:"]), min_size=1, max_size=5).map("/".join))
def test_an_accepted_path_never_leaves(text):
    if path_fault(text) is None:
        depth = 0
        for part in text.split("/"):
            depth += {"..": -1, ".": 0, "": 0}.get(part, 1)
            assert depth > 0


def test_links_that_leave_are_refused(tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "secret").touch()
    (root / "link").symlink_to(tmp_path)
    (root / "fine").symlink_to(root)
    with pytest.raises(UnsafePathError, match="'link/secret': a link leads out of its directory"):
        resolve_inside(root, "link/secret")
    assert resolve_inside(root, "fine/x") == root / "fine/x"
