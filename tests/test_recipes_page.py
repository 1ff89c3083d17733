"""docs/recipes.md: its table, its commands and its suite are true of the files."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import yaml

from c2o_evidence.suite import load_suite
from c2o_model.config import config_from_dict, load_config
from c2o_model.data.class_map import TABLES, match_classes, read_table

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
RECIPES = ROOT / "configs" / "models" / "recipes"


def rows() -> list[list[str]]:
    return [
        [cell.strip() for cell in line.strip("|\n").split("|")]
        for line in PAGE.splitlines()
        if re.match(r"\| `\w+`", line)
    ]


def own_name(row: list[str]) -> str:
    return row[0].split("`")[1]


def test_the_table_names_every_recipe() -> None:
    named = {own_name(row) for row in rows()}
    assert named == {path.stem.removesuffix("_r50") for path in RECIPES.glob("*_r50.yaml")}


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[0])
def test_the_table_is_true(row: list[str]) -> None:
    cfg = load_config(RECIPES / f"{own_name(row)}_r50.yaml")
    d, solver = cfg.MODEL.DiffusionDet, cfg.SOLVER
    assert row[3:6] == [str(d.NUM_CLASSES), str(d.NUM_PROPOSALS), f"{solver.MAX_ITER:,} x {solver.IMS_PER_BATCH}"]
    if not row[1].startswith("yours"):
        assert re.findall(r"`([^`]+)`", row[1]) == list(cfg.DATASETS.TRAIN)
        assert re.findall(r"`([^`]+)`", row[2]) == list(cfg.DATASETS.TEST)


def test_files_that_it_names_are_there() -> None:
    found = set(re.findall(r"--config-file (\S+)", PAGE)) | set(re.findall(r"model: (\S+)", PAGE))
    assert len(found) >= 2 and all((ROOT / name).is_file() for name in found)
    for module in set(re.findall(r"python -m (c2o_model[\w.]*)", PAGE)):
        assert (ROOT / module.replace(".", "/")).with_suffix(".py").is_file()


def test_how_many_classes_of_lvis_are_mapped() -> None:
    lvis = pytest.importorskip("detectron2.data.datasets.lvis_v1_categories").LVIS_CATEGORIES
    origin = (ROOT / "tests" / "c2o_model" / "objects365_classes.txt").read_text(encoding="utf-8").splitlines()
    names = [entry["name"] for entry in lvis]
    mapped = match_classes(names, origin, read_table(TABLES / "objects365_to_lvis.tsv"))
    assert f"{1203 - len(mapped.without())} of LVIS's 1203" in PAGE


def test_its_suite_can_be_read(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    shutil.copytree(ROOT / "workflow" / "schemas", tmp_path / "workflow" / "schemas")
    for package in ("c2o_model", "c2o_evidence"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    blocks = re.findall(r"```yaml\n# (\S+)\n(.*?)```", PAGE, re.S)
    assert [name for name, _ in blocks] == ["configs/data/coco2017.yaml", "configs/suites/coco_main.yaml"]
    for name, text in blocks:
        (tmp_path / name).write_text(text, encoding="utf-8")
    suite = load_suite("configs/suites/coco_main.yaml", tmp_path)
    assert suite.data_name == "coco2017" and suite.train_jobs[0] == ("detector", 0) and len(suite.train_jobs) == 6
    for experiment in ("detector", "student"):
        cfg = config_from_dict(suite.config_of(experiment))
        assert cfg.MODEL.RESNETS.NORM == cfg.MODEL.FPN.NORM == "GN" and cfg.MODEL.BACKBONE.FREEZE_AT == 0
    assert yaml.safe_load(blocks[0][1])["kind"] == "named"
