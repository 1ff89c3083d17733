"""`c2o data plan`: sums, times and trees by hand, and a plan of every set."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from c2o_evidence.datasets import plan
from c2o_evidence.datasets.cost import RATES, estimate
from c2o_evidence.datasets.known import DATASETS
from c2o_evidence.datasets.names import find
from c2o_evidence.progress import format_size

COCO_ARCHIVES = 19_336_861_798 + 815_585_330 + 252_907_541


def test_coco_by_hand(tmp_path: Path) -> None:
    text = plan.text(DATASETS["coco"], tmp_path)
    # 20 405 354 669 bytes are 163 242 837 352 bits: 16 324 s, 1632 s, 163 s.
    assert COCO_ARCHIVES == 20_405_354_669
    assert "  20.4 GB in all: 4h32m at 10 Mbit/s, 27m12s at 100 Mbit/s, 2m43s at 1000 Mbit/s\n" in text
    assert "  train2017.zip                        19.3 GB  gives coco/train2017/*.jpg\n" in text
    assert "sha256 69a8bb58ea5f8f99d24875f21416de2e9ded3178e903f1f7603e283b9e06d929" in text
    assert "  converted at use                nothing\n" in text
    assert "coco_2017_val        5000 images, 36781 boxes, 80 classes" in text
    assert "configurations that use them (docs/recipes.md)\n  none in configs/ yet\nnext: `c2o data check coco`" in text
    assert plan.tree(DATASETS["coco"]) == [
        "  coco/",
        "    annotations/",
        "      instances_train2017.json                annotations_trainval2017.zip",
        "      instances_val2017.json                  annotations_trainval2017.zip",
        "    train2017/                                train2017.zip",
        "    val2017/                                  val2017.zip",
    ]


@pytest.mark.parametrize("name", sorted(DATASETS))
def test_every_set_has_a_plan_that_names_all_it_needs(name: str, tmp_path: Path) -> None:
    dataset = DATASETS[name]
    text, document = plan.text(dataset, tmp_path), json.loads(plan.as_json(dataset, tmp_path))
    for part in (dataset.title, dataset.site, dataset.terms, *dataset.remarks):
        assert part in text
    for archive in dataset.archives:
        assert archive.name in text and archive.sha256 in text and archive.gives in text
    for split in dataset.splits:
        assert split.name in text and Path(split.annotation).name in text
    assert document["disk"]["archives"] == sum(archive.size or 0 for archive in dataset.archives)
    assert [item["name"] for item in document["splits"]] == [split.name for split in dataset.splits]


def test_a_size_that_is_not_known_is_said() -> None:
    dataset = DATASETS["lvis_v1"]
    assert dataset.archives[1].unpacked is None and not plan.disk(dataset).whole
    train = DATASETS["objects365"].archives[2]
    assert train.size is None
    assert f"  {train.name}            size not known  gives" in plan.text(DATASETS["objects365"], Path("/nowhere"))


def test_costs_follow_the_number_of_boxes() -> None:
    split = find("lvis_v1_val").splits[0]
    cost, rate = estimate(split), RATES["lvis"]
    assert cost is not None and split.boxes == 244_707
    assert cost.check_s == pytest.approx(0.244707 * rate.check_us) and cost.load_s == pytest.approx(
        0.244707 * rate.load_us
    )
    assert cost.converted == round(244_707 * rate.converted)
    # The number of val's boxes is not published: it is reckoned from the file's size.
    crowd = estimate(find("crowdhuman_val").splits[0])
    assert crowd is not None and crowd.check_s == pytest.approx(0.1279 * RATES["odgt"].check_us, rel=0.001)
    (extra,) = find("mine", "mine:a.json:b").splits
    assert estimate(extra) is None


def test_repro10k_copies_a_part_alone() -> None:
    unpacked = plan.disk(DATASETS["coco"]).unpacked
    need = plan.disk(DATASETS["repro10k"])
    assert need.unpacked == unpacked and need.copy == round(unpacked * 15_000 / 123_287) and need.converted is None


def test_configurations_that_use_it(tmp_path: Path) -> None:
    folder = tmp_path / "configs" / "models"
    folder.mkdir(parents=True)
    (folder / "a.yaml").write_text("DATASETS: {TRAIN: [voc_2007_trainval]}\n")
    (folder / "b.yaml").write_text("DATASETS: {TRAIN: [coco_2017_train]}\n")
    (folder / "c.yaml").write_text("_BASE_: a.yaml\nSOLVER: {MAX_ITER: 9}\n")
    (folder / "d.yaml").write_text("_BASE_: [c.yaml, gone.yaml]  # both\n")
    (folder / "e.yaml").write_text("_BASE_: a.yaml\nDATASETS: {TRAIN: [coco_2017_train]}\n")
    (folder / "f.yaml").write_text("_BASE_: f.yaml\n")
    (folder / "base.yaml").write_text("DATASETS: {TRAIN: [voc_2007_trainval]}\n")
    used = [f"configs/models/{name}.yaml" for name in "acd"]
    assert plan.using(DATASETS["voc_2007"], tmp_path) == used
    told = "\n".join(("configurations that use them (docs/recipes.md)", *(f"  {path}" for path in used)))
    assert f"{told}\n" in plan.text(DATASETS["voc_2007"], tmp_path)


@pytest.mark.parametrize(("count", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (2.5e12, "2.5 TB")])
def test_sizes(count: float, text: str) -> None:
    assert format_size(count) == text


def test_the_documentation_shows_what_is_printed() -> None:
    page = (Path(__file__).resolve().parents[3] / "docs" / "datasets.md").read_text("utf-8")
    shown = page.partition("`c2o data plan voc_2012` prints:")[2].partition("\n\nWhat is known")[0].splitlines()
    printed = plan.text(DATASETS["voc_2012"], Path("/nowhere")).splitlines()
    assert [line[4:] for line in shown if line.strip()] == [
        line for line in printed if line and not line.startswith(("configurations", "  none in configs"))
    ]
