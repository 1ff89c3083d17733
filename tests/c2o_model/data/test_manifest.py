"""The data manifest: digests as sha256sum gives them, counts by hand, every fault found."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from c2o_model.data import manifest as manifests
from c2o_model.data.errors import DataError
from c2o_model.data.manifest import DataManifest, FileEntry, list_digest


@pytest.fixture
def copy(mini: DataManifest, tmp_path: Path) -> DataManifest:
    """The holdout and val part of the small set, with its own manifest, free to be damaged."""
    root = tmp_path / "copy"
    for split in ("holdout", "val"):
        shutil.copytree(mini.root / "images" / split, root / "images" / split)
        shutil.copy(mini.root / f"{split}.json", root)
    manifest = manifests.build(root, "copy", mini.config, ("holdout", "val"))
    manifests.write(manifest)
    return manifest


def test_reading_gives_back_what_was_written(copy: DataManifest) -> None:
    read = manifests.read(copy.root)
    assert read == copy
    read.verify()


def test_digests_are_those_of_sha256sum(copy: DataManifest) -> None:
    paths = sorted(
        path.relative_to(copy.root).as_posix() for path in copy.root.rglob("*.*g") if path.is_file()
    )
    paths = sorted([*paths, "holdout.json", "val.json"])

    def summed(names: list[str]) -> str:
        lines = subprocess.run(["sha256sum", *names], cwd=copy.root, capture_output=True, check=True).stdout
        return hashlib.sha256(lines).hexdigest()

    assert copy.sha256 == summed(paths)
    assert copy.splits["val"]["sha256"] == summed([path for path in paths if "val" in path])


def test_counts(copy: DataManifest) -> None:
    coco = json.loads((copy.root / "val.json").read_bytes())
    counts = copy.splits["val"]
    assert counts["images"] == 24 and counts["objects"] == len(coco["annotations"])
    for digit in range(10):
        of_class = [item for item in coco["annotations"] if item["category_id"] == digit + 1]
        assert counts["per_class"][str(digit)] == len(of_class)
    small = sum(item["bbox"][2] * item["bbox"][3] < 1024 for item in coco["annotations"])
    assert counts["per_size"] == {"small": small, "medium": len(coco["annotations"]) - small, "large": 0}
    assert (
        counts["plates"] == counts["degraded"] == sum(bool(item["degraded"]) for item in coco["annotations"])
    )


@given(st.dictionaries(st.text(min_size=1), st.binary(max_size=4), max_size=5), st.data())
def test_any_change_of_a_file_changes_the_whole(files: dict[str, bytes], data: Any) -> None:
    entries = {name: FileEntry(len(body), hashlib.sha256(body).hexdigest()) for name, body in files.items()}
    assert list_digest(dict(reversed(entries.items()))) == list_digest(entries)
    if entries:
        name = data.draw(st.sampled_from(sorted(entries)))
        other = FileEntry(0, hashlib.sha256(files[name] + b"x").hexdigest())
        assert list_digest({**entries, name: other}) != list_digest(entries)
        assert list_digest({key: entries[key] for key in entries if key != name}) != list_digest(entries)


def _truncate(root: Path) -> None:
    path = root / "images/val/000003.png"
    path.write_bytes(path.read_bytes()[:-1])


def _link(root: Path) -> None:
    (root / "images/val/evil.png").symlink_to("/etc/hostname")


@pytest.mark.parametrize(
    "damage, message",
    [
        (
            _truncate,
            "000003.png: has changed: expected sha256 .* found .* bytes.; generate or copy the set again",
        ),
        (lambda root: (root / "val.json").unlink(), "val.json: is missing; generate the set again"),
        (
            lambda root: (root / "notes.txt").touch(),
            "notes.txt: is not listed in manifest.json; move it away",
        ),
        (_link, "evil.png: is not listed in manifest.json; move it away"),
    ],
)
def test_verify_finds(copy: DataManifest, damage: Callable[[Path], None], message: str) -> None:
    damage(copy.root)
    with pytest.raises(DataError, match=message):
        copy.verify()


def test_tools_may_leave_hidden_files(copy: DataManifest) -> None:
    (copy.root / "images/.timestamp").touch()
    copy.verify()


def _edit(change: Callable[[dict[str, Any]], Any]) -> Callable[[str], str]:
    def apply(text: str) -> str:
        document = json.loads(text)
        change(document)
        return json.dumps(document)

    return apply


@pytest.mark.parametrize(
    "damage, message",
    [
        (lambda text: text[: len(text) // 2], "manifest.json: is not JSON .*; generate the set again"),
        (lambda _: "[]", "is not a data manifest"),
        (_edit(lambda d: d.pop("files")), "is not a data manifest .KeyError 'files'"),
        (_edit(lambda d: d.update(schema=2)), "schema 2 is not 1; use the version that wrote it"),
        (
            _edit(lambda d: d["files"].update({"../x": d["files"]["val.json"]})),
            "files: '../x' leaves the directory",
        ),
        (
            _edit(lambda d: d["files"].update({"/x": d["files"]["val.json"]})),
            "files: '/x' leaves the directory",
        ),
        (
            _edit(lambda d: d["files"].pop("val.json")),
            "sha256: .* is not the digest of its own list .*was edited",
        ),
    ],
)
def test_bad_manifest(copy: DataManifest, damage: Callable[[str], str], message: str) -> None:
    path = copy.root / "manifest.json"
    path.write_text(damage(path.read_text()))
    with pytest.raises(DataError, match=message):
        manifests.read(copy.root)


def test_missing_manifest_and_split(copy: DataManifest, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="manifest.json: is missing; generate the set first"):
        manifests.read(tmp_path)
    with pytest.raises(DataError, match="has no split 'test'; use one of holdout, val"):
        copy.annotation("test")
