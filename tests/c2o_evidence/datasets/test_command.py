"""`c2o data` as it is typed: names, exit codes, JSON, progress, and the documentation."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from c2o_evidence.cli import main
from c2o_evidence.datasets.command import check_command
from c2o_evidence.datasets.known import DATASETS
from c2o_evidence.datasets.names import datasets_root, extra_splits, find
from c2o_evidence.datasets.view import Plain
from c2o_evidence.errors import DataSetError
from tests import fabricated_sets
from tests.c2o_evidence.datasets.fitted import fitted

ROOT = Path(__file__).resolve().parents[3]


def test_names() -> None:
    assert [split.name for split in find("voc_2012").splits] == ["voc_2012_trainval", "voc_2012_train", "voc_2012_val"]
    assert [split.name for split in find("coco_2017_val").splits] == ["coco_2017_val"]
    assert find("coco_2017_val").name == "coco" and find("mine", " mine:a.json:b ;").splits[0].annotation == "a.json"
    with pytest.raises(
        DataSetError, match=r"^kitti: is not the name of a data set; give one of coco, .*, repro10k, mine,"
    ):
        find("kitti", "mine:a.json:b")
    with pytest.raises(DataSetError, match="c2o_digits_val: is made by the project itself"):
        find("c2o_digits_val")


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("a:b", "EXTRA_COCO_DATASETS: 'a:b' is not name:json:image_root; separate entries by ';'"),
        ("a:b:", "'a:b:' is not name:json:image_root"),
        ("a:b:c;a:d:e", "EXTRA_COCO_DATASETS: a is listed twice; give each set its own name"),
    ],
)
def test_bad_extra_sets(setting: str, message: str) -> None:
    with pytest.raises(DataSetError, match=message):
        extra_splits(setting)


def test_the_root_is_detectron2s() -> None:
    assert datasets_root(Path("/c"), {}) == Path("/c/datasets")
    assert datasets_root(Path("/c"), {"DETECTRON2_DATASETS": "/d"}) == Path("/d")
    assert datasets_root(Path("/c"), {"DETECTRON2_DATASETS": "~/d"}) == Path.home() / "d"


def test_check_from_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """0, 1 and 2; a copy that is no published one has the faults that it has."""
    monkeypatch.setenv("EXTRA_COCO_DATASETS", fabricated_sets.extra(tmp_path))
    fabricated_sets.voc(tmp_path, "2007", images=2)
    assert main(["data", "check", "cells_train", "--all"]) == 0
    assert capsys.readouterr().out.endswith("cells_train: holds\n")
    assert main(["data", "check", "voc_2007_val", "--root", str(tmp_path), "--images", "1"]) == 1
    out = capsys.readouterr().out
    assert "  ! 2 images, published are 2510\n      -> get VOCtrainval_06-Nov-2007.tar again\n" in out
    assert "  + 1 of 1 pictures (of 2, drawn with seed 0) decode and have the annotated size\n" in out
    assert main(["data", "check", "coco", "--root", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("c2o data: COCO 2017 is not there: ")
    assert main(["data", "check", "voc_2007", "--root", str(tmp_path), "--start", "1"]) == 2
    assert "voc_2007 has several splits; name one of voc_2007_trainval" in capsys.readouterr().err
    with pytest.raises(SystemExit) as stopped:
        main(["data", "check", "coco", "--images", "-1"])
    assert stopped.value.code == 2 and "-1 is negative; give 0 or more" in capsys.readouterr().err


def test_json_and_hostile_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fabricated_sets.coco(tmp_path)
    path = tmp_path / "coco" / "annotations" / "instances_val2017.json"
    document = json.loads(path.read_text("utf-8"))
    document["images"][0]["file_name"] = "\x1b[31mred\u202e.jpg"
    path.write_text(json.dumps(document))
    known = {"coco": fitted("coco", tmp_path)}
    options = {"environ": {}, "known": known}
    assert check_command("coco_2017_val", tmp_path, tmp_path, as_json=True, **options) == 1  # type: ignore[arg-type]
    found = json.loads(capsys.readouterr().out)
    assert found["holds"] is False
    assert "1 of 4 image files are missing" in [line["text"] for line in found["splits"][0]["lines"]]
    assert check_command("coco_2017_val", tmp_path, tmp_path, **options) == 1  # type: ignore[arg-type]
    out = capsys.readouterr().out
    assert "\x1b" not in out and "\u202e" not in out and "\\u001b[31mred\\u202e.jpg" in out


def test_list(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    fabricated_sets.crowdhuman(tmp_path, images=1)
    (tmp_path / "VOC2012").mkdir()
    (tmp_path / "VOC2012" / "Annotations").mkdir()
    monkeypatch.setenv("EXTRA_COCO_DATASETS", fabricated_sets.extra(tmp_path, images=1))
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    assert main(["data", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    state = {line.split()[0]: " ".join(line.split()[1:]) for line in lines[1:-1]}
    assert lines[0] == f"below {tmp_path}:"
    assert state["coco"].startswith("absent COCO 2017: coco_2017_train, coco_2017_val")
    assert state["voc_2012"].startswith("1 of 5 parts there") and state["crowdhuman"].startswith("there CrowdHuman")
    assert state["cells_val"] == "there your own: cells_val"
    assert main(["data", "list", "--json"]) == 0
    names = [item["name"] for item in json.loads(capsys.readouterr().out)["sets"]]
    assert names == [*DATASETS, "cells_train", "cells_val"]


def test_plan_from_the_command_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(["data", "plan", "crowdhuman_val"]) == 0
    assert capsys.readouterr().out.startswith("CrowdHuman (publisher: crowdhuman.org)\n")
    monkeypatch.setenv("EXTRA_COCO_DATASETS", "mine:a.json:b")
    assert main(["data", "plan", "mine"]) == 2
    assert "mine: is your own set, of which nothing is known" in capsys.readouterr().err


def test_progress_in_a_pipe() -> None:
    out, now = io.StringIO(), iter([0.0, 5.0, 20.0, 21.0, 40.0])
    with Plain(out, 15.0, lambda: next(now))("a: pictures", 200, "images") as advance:
        for _ in range(4):
            advance(20)
    assert out.getvalue() == "a: pictures: 40 images (20 %)\na: pictures: 80 images (40 %)\n"


def test_the_documentation_has_the_commands() -> None:
    text = (ROOT / "docs" / "datasets.md").read_text("utf-8")
    for command in ("c2o data list", "c2o data check", "c2o data plan"):
        assert command in text
    assert "c2o data check" in (ROOT / "docs" / "own-data.md").read_text("utf-8")
