"""Repro-10k as files: the draw by hand, the same bytes from the same COCO, and what --check finds."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from c2o_model.data import build_repro10k
from c2o_model.data.build_repro10k import build, main
from c2o_model.data.coco import load_split
from c2o_model.data.errors import DataError
from c2o_model.data.public_sets import load_public
from tests import fabricated_sets

NAMES = {"train.json", "val.json", "manifest.json"}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    found = fabricated_sets.coco(tmp_path / "datasets", images=9)
    monkeypatch.setenv("DETECTRON2_DATASETS", str(found))
    return found


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def by_hand(root: Path, split: str, most: int) -> list[int]:
    """The ids of the draw, straight from COCO's own JSON."""
    coco = json.loads((root / "coco" / "annotations" / f"instances_{split}2017.json").read_text())
    keys = {c["id"] for c in coco["categories"] if c["name"] in ("car", "motorcycle", "person")}
    found = {a["image_id"] for a in coco["annotations"] if a["category_id"] in keys and not a["iscrowd"]}
    return sorted(sorted(found, key=lambda i: hashlib.sha256(b"%d" % i).hexdigest())[:most])


@pytest.mark.parametrize("most", [3, 10_000])
def test_the_draw_and_the_manifest(root: Path, most: int) -> None:
    files = build(root, most)
    assert set(files) == NAMES
    manifest = json.loads(files["manifest.json"])
    assert manifest["rule"]["classes"] == ["car", "motorcycle", "person"] and manifest["rule"]["images"] == most
    for split in ("train", "val"):
        said, document = manifest["splits"][split], json.loads(files[f"{split}.json"])
        ids = by_hand(root, split, most)
        assert said["image_ids"] == ids == sorted(record["id"] for record in document["images"])
        assert said["images"] == len(ids) == len(said["files"]) and (most > 3 or len(ids) == 3)
        assert said["sha256"] == hashlib.sha256(files[f"{split}.json"]).hexdigest()
        annotation = root / "coco" / "annotations" / f"instances_{split}2017.json"
        assert said["source"]["sha256"] == sha256(annotation) and said["source"]["bytes"] == annotation.stat().st_size
        lines = ""
        for key in ids:
            path = root / "coco" / f"{split}2017" / f"{key:012d}.jpg"
            entry = said["files"][str(key)]
            assert entry == {"file": path.name, "bytes": path.stat().st_size, "sha256": sha256(path)}
            lines += f"{entry['sha256']}  {path.name}\n"  # what sha256sum prints; names are in the order of ids
        assert said["images_sha256"] == hashlib.sha256(lines.encode()).hexdigest()
        real = [a for a in document["annotations"] if not a["iscrowd"]]
        assert said["objects"] == len(real) == sum(said["per_class"].values())
        assert said["crowds"] == len(document["annotations"]) - len(real)
        assert said["per_class"]["person"] == sum(a["category_id"] == 3 for a in real) > 0


def test_the_files_are_what_the_name_reads(root: Path, tmp_path: Path) -> None:
    assert main([str(tmp_path / "out")]) == 0
    for split in ("train", "val"):
        named = load_public(f"repro10k_{split}", root, tmp_path / "converted")
        filed = load_split(tmp_path / "out" / f"{split}.json", root / "coco" / f"{split}2017")
        assert named.annotation.read_bytes() == filed.annotation.read_bytes()
        assert named.image_ids == filed.image_ids and named.class_names == filed.class_names


def test_two_people_get_the_same_bytes(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    assert main([str(tmp_path / "one")]) == 0
    said = capsys.readouterr()
    assert said.out.endswith(f"manifest.json: sha256 {sha256(tmp_path / 'one' / 'manifest.json')}\n")
    assert "train: digests of " in said.err
    other = shutil.copytree(root, tmp_path / "elsewhere" / "sets")
    monkeypatch.setenv("DETECTRON2_DATASETS", str(other))
    assert main([str(tmp_path / "deep" / "two")]) == 0
    for name in NAMES:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "deep" / "two" / name).read_bytes()
    assert main([str(tmp_path / "one")]) == 0  # there already, and the same
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_check_names_what_differs(root: Path, tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "out"
    assert main([str(out)]) == 0 == main([str(out), "--check"])
    said = capsys.readouterr().out.splitlines()[-1]
    assert said == f"{out}: as COCO and the rule give it; manifest.json has sha256 {sha256(out / 'manifest.json')}"
    (out / "val.json").write_text("{}")
    (out / "train.json").unlink()
    (out / "note").touch()
    assert main([str(out), "--check"]) == 1
    assert capsys.readouterr().out.splitlines() == [
        f"{out}/note: does not belong here",
        f"{out}/train.json: is missing",
        f"{out}/val.json: has other bytes",
    ]
    assert main([str(out)]) == 2
    assert f"error: {out}: is there already and holds something else; move it away" in capsys.readouterr().err


def test_a_changed_image_changes_the_manifest_alone(root: Path) -> None:
    before = build(root)
    key = json.loads(before["manifest.json"])["splits"]["val"]["image_ids"][0]
    (root / "coco" / "val2017" / f"{key:012d}.jpg").write_bytes(b"another")
    after = build(root)
    assert {name for name in NAMES if before[name] != after[name]} == {"manifest.json"}


def test_what_is_missing_is_named(root: Path, tmp_path: Path, capsys: Any) -> None:
    key = by_hand(root, "train", 1)[0]
    path = root / "coco" / "train2017" / f"{key:012d}.jpg"
    path.unlink()
    with pytest.raises(DataError) as caught:
        build(root)
    assert str(caught.value) == f"{path}: is missing; put COCO's images there (docs/datasets.md)"
    (root / "coco" / "annotations" / "instances_train2017.json").unlink()
    assert main([str(tmp_path / "out")]) == 2
    assert "instances_train2017.json: is missing" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_nothing_half_made_is_left(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    files = build(root)
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(DataError, match=r"out: cannot be written \(No space left on device\); make room"):
        build_repro10k.write(files, tmp_path / "out")
    assert {path.name for path in tmp_path.iterdir()} == {"datasets"}
