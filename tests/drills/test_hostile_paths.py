"""Paths and names in every list of a bundle that leave it, look like another one, or cannot be files."""

import json
import os
from pathlib import Path

import pytest

from tests.drills.sandbox import RECORD, RESULTS, TALLY, Sandbox, edit, edit_json, seal

NO = "0" * 64


def test_the_honest_bundle_holds(sandbox: Sandbox, bundle: Path) -> None:
    """Else everything below would be refused for the wrong reason."""
    outcome = sandbox.run("verify", str(bundle), "--level", "tables", "--jobs", "1")
    assert (outcome.code, outcome.err) == (0, ""), outcome.text
    TALLY.baseline_mb = outcome.peak_mb
    seal(bundle)
    assert sandbox.run("verify", str(bundle), "--level", "tables", "--jobs", "1").code == 0
    alone = sandbox.run(str(bundle), script=Path("c2o_evidence/templates/verify.py").resolve())
    assert alone.code == 0, alone.text


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("../outside", "climbs out"),
        ("train/../../outside", "climbs out"),
        ("/etc/passwd", "is absolute"),
        ("a\\b", "not in POSIX form"),
        ("C:/windows", "not in POSIX form"),
        ("a\0b", "control character"),
        ("a\x1b[2Jb", "control character"),
        ("a\x9bb", "control character"),
        ("a\u202eb", "control character"),
        ("a\u200bb", "control character"),
        ("./README.md", "shortest form"),
        ("train//x", "shortest form"),
        ("cafe\u0301", "normal form"),
        ("README.MD", "in case alone"),
        ("x" * 256, "too long"),
        ("a/" * 600 + "b", "too long"),
    ],
)
def test_a_listed_path_is_refused(sandbox: Sandbox, bundle: Path, path: str, says: str) -> None:
    with (bundle / "SHA256SUMS").open("a") as stream:
        stream.write(f"{NO}  {path}\n")
    sandbox.verify(bundle, says)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        (b"\xff\xfe", "not UTF-8"),
        (b"a\nb", "control character"),
        (b"\x1b]0;owned\x07", "control character"),
        ("a\u202egpj.exe".encode(), "control character"),
        ("cafe\u0301".encode(), "normal form"),
    ],
)
def test_a_file_or_directory_of_that_name_is_refused(sandbox: Sandbox, bundle: Path, name: bytes, says: str) -> None:
    os.mkdir(os.path.join(os.fsencode(bundle), name))
    with open(os.path.join(os.fsencode(bundle), b"train", name), "wb"):
        pass
    sandbox.verify(bundle, says)
    sandbox.refuses("unsafe", "verify", str(bundle), "--json")


@pytest.mark.parametrize("path", ["../../../etc/passwd", "/etc/passwd", "a\x00b", "x/../../y", "a\\b"])
def test_a_record_names_a_path_outside(sandbox: Sandbox, bundle: Path, path: str) -> None:
    def change(record: dict) -> None:
        record["materials"][0]["path"] = path

    edit_json(bundle, RECORD, change)
    sandbox.tables(bundle, "record.json: materials[0].path")
    sandbox.refuses("materials[0].path", "show", f"{bundle}:base_1:0:0")


@pytest.mark.parametrize("path", ["../../../etc/passwd", "/etc/shadow", "train/../../x", "a\\b"])
def test_a_results_row_names_a_checkpoint_outside(sandbox: Sandbox, bundle: Path, path: str) -> None:
    def change(data: bytes) -> bytes:
        return data.replace(b"train/baseline/seed0/model.safetensors", path.encode())

    edit(bundle, RESULTS, change)
    sandbox.tables(bundle, "column ckpt_path")
    for name in ("tables/runs.tsv", "manifest.tsv"):
        edit(bundle, name, change)
    sandbox.tables(bundle, "column ckpt_path")
    sandbox.refuses("is not a usable path", "show", f"{bundle}:base_1:0:0")
    sandbox.refuses("another digest", str(bundle), script=Path("c2o_evidence/templates/verify.py").resolve())


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (b"name: toy\n", b"name: ../toy\n", "is not a usable name"),
        (b"name: toy\n", b'name: "toy\\n"\n', "is not a usable name"),
        (b"name: toy\n", b"name: ''\n", "is not a usable name"),
        (b"exp_id: base_1\n", b"exp_id: ../../base_1\n", "is not a usable name"),
        (b"  baseline:\n", b"  ../../baseline:\n", "is not a usable name"),
        (b"experiment: baseline\n", b"experiment: /etc\n", "experiment"),
        (b"name: toy\n", b"name: " + b"x" * 300 + b"\n", "row-edited"),
    ],
)
def test_a_name_in_the_suite_is_no_path(sandbox: Sandbox, bundle: Path, old: bytes, new: bytes, says: str) -> None:
    assert old in (bundle / "suite.yaml").read_bytes()
    edit(bundle, "suite.yaml", lambda data: data.replace(old, new, 1))
    sandbox.tables(bundle, says)


@pytest.mark.parametrize("annotation", ["../../../etc/passwd", "/etc/passwd", "\ud800", 7, None, {"a": []}])
def test_a_data_manifest_names_what_it_likes(sandbox: Sandbox, bundle: Path, annotation: object) -> None:
    def change(manifest: dict) -> None:
        manifest["splits"]["val"]["annotation"] = annotation
        manifest["files"][str(annotation)] = {"sha256": "\udfff", "bytes": -1}

    edit_json(bundle, "data/manifest.json", change)
    sandbox.tables(bundle, "data/manifest.json")


@pytest.mark.parametrize(
    "data",
    [
        json.dumps({"@graph": [{"@id": "../../../etc/passwd", "contentUrl": "file:///etc/passwd"}]}).encode(),
        b'{"@graph": [{"@id": "README.md", "contentSize": 1e999}]}',
        b'{"@graph": [{"@id": ["README.md"]}]}',
        b'{"@graph": ' + b"[" * 100_000,
        b'{"@graph": [' + b"{}," * 1_000_000 + b"{}]}",
    ],
)
def test_the_crate_is_compared_and_not_followed(sandbox: Sandbox, bundle: Path, data: bytes) -> None:
    edit(bundle, "ro-crate-metadata.json", lambda _: data)
    sandbox.tables(bundle, "ro-crate-metadata.json")


def test_a_million_damaged_lines_are_not_a_million_findings(sandbox: Sandbox, bundle: Path) -> None:
    with (bundle / "SHA256SUMS").open("a") as stream:
        stream.write("x\n" * 1_000_000)
    sandbox.verify(bundle, "1001 malformed", "10000 findings")


def test_a_list_of_a_gigabyte_is_not_read(sandbox: Sandbox, bundle: Path) -> None:
    with (bundle / "SHA256SUMS").open("r+b") as stream:
        stream.truncate(1 << 30)
    sandbox.verify(bundle, "more than the limit", "more than the limit")
