"""Every recipe below configs/models/recipes: keys and numbers fit its data set, and a dry run on a tiny copy passes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from c2o_model.config import dump_resolved, load_config
from c2o_model.data.public_sets import PUBLIC
from tests import fabricated_sets

ROOT = Path(__file__).parents[2]
PLACE = ROOT / "configs" / "models" / "recipes"
D = "MODEL.DiffusionDet."
SHARED = ("base", "trunk_swin_b")
# Of each set, as published: classes, images that are trained on, names.
SETS = {
    "coco": (80, 118_287, "coco_2017_train", "coco_2017_val"),
    "lvis": (1203, 100_170, "lvis_v1_train@repeat=0.001", "lvis_v1_val"),
    "voc": (20, 5_011 + 11_540, "voc_2007_trainval voc_2012_trainval", "voc_2007_test"),
    "crowdhuman": (1, 15_000, "crowdhuman_train", "crowdhuman_val"),
    "objects365": (365, 1_742_289, "objects365_train", "objects365_val"),
    "objects365_to_coco": (80, 118_287, "coco_2017_train", "coco_2017_val"),
    "objects365_to_lvis": (1203, 100_170, "lvis_v1_train@repeat=0.001", "lvis_v1_val"),
    "repro10k": (3, 10_000, "repro10k_train", "repro10k_val"),
    "extra": (3, 10_000, "mine_train", "mine_val"),
}
RECIPES = [f"{name}_{trunk}" for name in SETS for trunk in ("r50", "swin_b")]
TINY = [
    *("MODEL.DEVICE", "cpu", "SOLVER.IMS_PER_BATCH", "2", "MODEL.FPN.OUT_CHANNELS", "64"),
    *("INPUT.MIN_SIZE_TRAIN", "(64,)", "INPUT.MAX_SIZE_TRAIN", "96", "INPUT.MIN_SIZE_TEST", "64"),
    *("INPUT.CROP.SIZE", "(48, 64)", D + "HIDDEN_DIM", "64", D + "NUM_PROPOSALS", "20", D + "NUM_HEADS", "2"),
    *(D + "DIM_DYNAMIC", "8", D + "DIM_FEEDFORWARD", "64"),
]
RUN_ALL = """
import json, sys
from c2o_model.train_net import main
for name, arguments in json.load(sys.stdin):
    print("RECIPE", name, flush=True)
    print("EXIT", main(arguments), flush=True)
"""


def split_name(recipe: str) -> tuple[str, str]:
    name, trunk = re.fullmatch(r"(\w+?)_(r50|swin_b)", recipe).groups()  # type: ignore[union-attr]
    return name, trunk


def test_every_file_is_known() -> None:
    assert sorted(path.stem for path in PLACE.iterdir()) == sorted([*RECIPES, *SHARED])


@pytest.mark.parametrize("recipe", RECIPES)
def test_numbers_fit_the_set(recipe: str) -> None:
    name, trunk = split_name(recipe)
    classes, images, train, test = SETS[name]
    cfg = load_config(PLACE / f"{recipe}.yaml")
    d, solver = cfg.MODEL.DiffusionDet, cfg.SOLVER
    assert classes == d.NUM_CLASSES
    assert tuple(cfg.DATASETS.TRAIN) == tuple(train.split()) and tuple(cfg.DATASETS.TEST) == (test,)
    for data in (*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST):
        assert data.partition("@")[0] in PUBLIC or data.startswith(("coco_2017_", "mine_"))
    assert solver.IMS_PER_BATCH % 8 == 0 and solver.CHECKPOINT_PERIOD % 20 == 0
    assert solver.AMP.ENABLED and cfg.MODEL_EMA.ENABLED and cfg.MODEL.DEVICE == "cuda"
    assert list(solver.STEPS) == sorted(solver.STEPS) and max(solver.STEPS) < solver.MAX_ITER
    epochs = {"objects365": 12, "objects365_to_coco": 12, "objects365_to_lvis": 12, "crowdhuman": 50, "lvis": 43}
    epochs |= {"extra": 36, "repro10k": 64}
    assert solver.MAX_ITER * solver.IMS_PER_BATCH / images == pytest.approx(epochs.get(name, 61), rel=0.015)
    assert cfg.TEST.DETECTIONS_PER_IMAGE <= d.NUM_PROPOSALS
    assert ("lvis" in name) == d.USE_FED_LOSS
    assert cfg.MODEL.BACKBONE.NAME.startswith("build_swin" if trunk == "swin_b" else "build_resnet")


@pytest.mark.parametrize("name", SETS)
def test_the_trunk_is_all_that_differs(name: str) -> None:
    one, other = (
        yaml.safe_load(dump_resolved(load_config(PLACE / f"{name}_{trunk}.yaml"))) for trunk in ("r50", "swin_b")
    )
    assert one["MODEL"]["SWIN"].pop("SIZE") == "B" and other["MODEL"]["SWIN"].pop("SIZE") == "B-22k"
    assert one["MODEL"]["BACKBONE"].pop("NAME") != other["MODEL"]["BACKBONE"].pop("NAME")
    assert one["MODEL"]["FPN"].pop("IN_FEATURES") == ["res2", "res3", "res4", "res5"]
    assert other["MODEL"]["FPN"].pop("IN_FEATURES") == ["swin0", "swin1", "swin2", "swin3"]
    assert one == other


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_head_says_what_it_is_and_how_it_is_run(recipe: str) -> None:
    text = (PLACE / f"{recipe}.yaml").read_text(encoding="utf-8")
    head = text[: text.index("_BASE_:")]
    assert all(line.startswith("#") for line in head.splitlines())
    command = f"python -m c2o_model.train_net --config-file configs/models/recipes/{recipe}.yaml --num-gpus 8 \\"
    assert command in head and "MODEL.WEIGHTS weights/" in head and "OUTPUT_DIR runs/" in head
    assert recipe.startswith("extra") or "docs/sizing.md" in head


@pytest.fixture(scope="module")
def datasets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What $DETECTRON2_DATASETS names."""
    root = tmp_path_factory.mktemp("recipes") / "datasets"
    fabricated_sets.lvis(root)  # with COCO
    fabricated_sets.voc(root)
    fabricated_sets.voc(root, "2012")
    fabricated_sets.crowdhuman(root)
    fabricated_sets.objects365(root)
    return root


@pytest.fixture(scope="module")
def dry_runs(datasets: Path) -> dict[str, str]:
    """What a dry run of each recipe says on a tiny copy of its set: one process for all, importing takes seconds.

    Trunks are as configured, but Swin-T stands for Swin-B in all but one; bfloat16, slow on a CPU, is left on in one.
    """
    place = datasets.parent
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "DETECTRON2_DATASETS": str(datasets)}
    environ["EXTRA_COCO_DATASETS"] = fabricated_sets.extra(datasets).replace("cells_", "mine_")
    todo = []
    for recipe in RECIPES:
        opts = [*TINY, "SOLVER.AMP.ENABLED", str(recipe == "crowdhuman_r50"), "OUTPUT_DIR", str(place / "out")]
        if recipe.endswith("swin_b") and recipe != "coco_swin_b":
            opts += ["MODEL.SWIN.SIZE", "T"]
        todo.append((recipe, ["--config-file", str(PLACE / f"{recipe}.yaml"), "--dry-run", *opts]))
    done = subprocess.run(
        [sys.executable, "-c", RUN_ALL], cwd=place, env=environ, input=json.dumps(todo), text=True, capture_output=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    parts = done.stdout.split("RECIPE ")[1:]
    said = {name: text for name, _, text in (part.partition("\n") for part in parts)}
    assert list(said) == RECIPES
    assert {name for name, text in said.items() if "EXIT 0" not in text} == set(), done.stderr[-3000:]
    assert not (place / "out").exists()
    return said


def drawn_of_coco(root: Path, split: str) -> int:
    """How many of COCO's images have a car, a motorcycle or a person that is no crowd."""
    document = json.loads((root / "coco" / "annotations" / f"instances_{split}2017.json").read_text(encoding="utf-8"))
    wanted = {c["id"] for c in document["categories"] if c["name"] in fabricated_sets.REPRO10K}
    return len({a["image_id"] for a in document["annotations"] if a["category_id"] in wanted and not a["iscrowd"]})


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_dry_run_passes_on_a_tiny_copy(datasets: Path, dry_runs: dict[str, str], recipe: str) -> None:
    said = dry_runs[recipe]
    name, trunk = split_name(recipe)
    classes, _, train, test = SETS[name]
    # LVIS leaves an image to val, VOC has two years, and Repro-10k is what COCO has of its classes.
    images = {"lvis": 3, "objects365_to_lvis": 3, "voc": 16, "repro10k": drawn_of_coco(datasets, "train")}.get(name, 4)
    assert re.search(rf"^data      {', '.join(train.split())}: {images} images with boxes", said, re.M)
    assert re.search(rf"boxes of \d+ of {classes} classes", said)
    tested = {"lvis": 5, "objects365_to_lvis": 5, "repro10k": drawn_of_coco(datasets, "val")}.get(name, 4)
    assert re.search(rf"^test      {test}: {tested} images, \d+ boxes, the same classes$", said, re.M)
    assert f"x 20 boxes x {classes} classes" in said
    assert "batch     2 images = 1 process(es) x 1 micro-batch(es) x 2" in said
    assert re.search(r"^step      \d+\.\d\d s; loss \d", said, re.M) and "disk      " in said
    steps = load_config(PLACE / f"{recipe}.yaml").SOLVER.MAX_ITER
    assert re.search(rf"^full run  {steps:,} steps of 2 images = {2 * steps / images:.1f} epochs$", said, re.M)


def test_swin_b_has_the_parameters_of_the_released_one(dry_runs: dict[str, str]) -> None:
    """87 M of Swin-B below the small pyramid and head; 28 M of Swin-T, which stands for it elsewhere."""
    counts = {k: int(re.search(r"([\d,]+) parameters", v)[1].replace(",", "")) for k, v in dry_runs.items()}  # type: ignore[index]
    assert 87e6 < counts["coco_swin_b"] < 90e6 and 27e6 < counts["voc_swin_b"] < 30e6
