"""Digests against hashlib and sha256sum, canonical JSON, sidecars."""

import hashlib
import json
import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from c2o_evidence.digests import (
    canonical_json,
    check_sidecar,
    json_digest,
    sha256_bytes,
    sha256_file,
    tree_digest,
    write_sidecar,
)
from c2o_evidence.errors import DigestError, UnsafePathError

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=10,
)


def test_known_digests(tmp_path):
    # NIST's example messages for SHA-256.
    assert sha256_bytes(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    (tmp_path / "empty").touch()
    assert sha256_file(tmp_path / "empty") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@pytest.mark.parametrize("size", [1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1])
def test_files_around_the_chunk_size(tmp_path, size):
    data = bytes(range(251)) * (size // 251 + 1)
    (tmp_path / "f").write_bytes(data[:size])
    assert sha256_file(tmp_path / "f") == hashlib.sha256(data[:size]).hexdigest()


@given(VALUES)
def test_canonical_json_reads_back_and_ignores_order(value):
    text = canonical_json(value)
    assert json.loads(text) == value
    assert canonical_json(json.loads(text)) == text


def test_canonical_json_has_one_spelling():
    assert canonical_json({"b": [1, 2.5], "a": "é\n"}) == '{"a":"é\\n","b":[1,2.5]}'.encode()
    assert json_digest({"a": 1, "b": 2}) == json_digest({"b": 2, "a": 1})
    assert json_digest({"a": (1,)}) == json_digest({"a": [1]})


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"a": {"b": float("nan")}}, "a.b: nan has no digest; use a finite number"),
        ([1, float("inf")], r"\[1\]: inf has no digest"),
        ({1: 2}, "value: 1 is not a text key; write it in quotes"),
        ({"a": b"x"}, "a: a bytes has no digest"),
    ],
)
def test_values_without_a_spelling(value, message):
    with pytest.raises(DigestError, match=message):
        canonical_json(value)


def test_tree_digest_is_the_digest_of_the_sha256sum_listing(tmp_path):
    for name in ("b", "a/c", "a.b"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(name)
    listing = "".join(f"{hashlib.sha256(n.encode()).hexdigest()}  {n}\n" for n in ("a.b", "a/c", "b"))
    assert tree_digest(tmp_path, ["b", "a.b", "a/c"]) == hashlib.sha256(listing.encode()).hexdigest()
    with pytest.raises(DigestError, match="b: listed twice; list every file once"):
        tree_digest(tmp_path, ["b", "b"])
    with pytest.raises(DigestError, match="gone: cannot be read: No such file or directory"):
        tree_digest(tmp_path, ["gone"])
    with pytest.raises(UnsafePathError, match="climbs out of its directory"):
        tree_digest(tmp_path / "a", ["../b"])


def test_sidecar_is_what_sha256sum_reads(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"weights")
    sidecar = write_sidecar(path)
    assert sidecar.read_text() == f"{hashlib.sha256(b'weights').hexdigest()}  model.safetensors\n"
    assert check_sidecar(path) == hashlib.sha256(b"weights").hexdigest()
    if shutil.which("sha256sum"):
        subprocess.run(["sha256sum", "--check", "--strict", sidecar.name], cwd=tmp_path, check=True)


def test_sidecar_faults(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"weights")
    sidecar = write_sidecar(path)
    good = sidecar.read_text()
    path.write_bytes(b"weightz")
    expected, found = hashlib.sha256(b"weights").hexdigest(), hashlib.sha256(b"weightz").hexdigest()
    with pytest.raises(DigestError, match=f"sha256: expected {expected}, found {found}; restore the file"):
        check_sidecar(path)
    assert path.read_bytes() == b"weightz", "a check deletes nothing"
    for text, message in [
        (good.replace("model", "other"), "names 'other.safetensors' instead of 'model.safetensors'"),
        (good.upper(), "is not one line `SHA256  NAME`"),
        (good + good, "is not one line `SHA256  NAME`"),
        ("", "is not one line `SHA256  NAME`"),
    ]:
        sidecar.write_text(text)
        with pytest.raises(DigestError, match=message):
            check_sidecar(path)
    sidecar.unlink()
    with pytest.raises(DigestError, match="model.safetensors.sha256: cannot be read; make it again"):
        check_sidecar(path)
