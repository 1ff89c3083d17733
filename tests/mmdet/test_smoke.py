"""One epoch on the embedded set through mmengine's Runner, and what becomes of its detections.

The detector learns from nothing on a frozen backbone that the core has pretrained for 150 steps, two images a step; a
single epoch of eight a step from nothing, backbone and all, reaches no AP that CocoMetric's three digits show.
"""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from c2o_evidence.detections import read_detections
from c2o_evidence.digests import sha256_file
from c2o_evidence.manifest import read_results_manifest
from c2o_evidence.metrics import GroundTruth
from c2o_evidence.records import read_record
from c2o_evidence.tsv import read_tsv
from c2o_model import train_net
from c2o_model.data import manifest as data_manifest
from c2o_model.data.digits import generate
from c2o_model.mmdet3 import convert, test, train
from tests.mmdet.conftest import ROOT

TOY, SMALL = "configs/mmdet/toy.py", "configs/models/digits/small.yaml"
NAMES = {"AP": "mAP", "AP50": "mAP_50", "AP75": "mAP_75", "APs": "mAP_s", "APm": "mAP_m"}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        root = tmp_path_factory.mktemp("smoke")
        generate(yaml.safe_load(Path("configs/data/digits.yaml").read_text(encoding="utf-8")), root / "data/digits")
        yield root


@pytest.fixture(scope="module")
def values(place: Path) -> list[str]:
    digits = place / "data/digits"
    roots = [f"{name}_dataloader.dataset.data_root={digits}/" for name in ("train", "val", "test")]
    return [*roots, *(f"{name}_evaluator.ann_file={digits}/val.json" for name in ("val", "test"))]


@pytest.fixture(scope="module")
def work(place: Path, values: list[str]) -> Path:
    """The work directory of the training."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EXTRA_COCO_DATASETS", f"smoke:{place}/data/digits/train.json:{place}/data/digits")
        sets = ["DATASETS.TRAIN", "('smoke',)", "OUTPUT_DIR", str(place / "backbone")]
        short = ["SOLVER.MAX_ITER", "150", "SOLVER.IMS_PER_BATCH", "8", "SOLVER.WARMUP_ITERS", "10"]
        assert train_net.main(["--config-file", "configs/models/digits/backbone.yaml", *sets, *short]) == 0
    backbone = [str(place / "backbone/model_final.safetensors"), str(place / "backbone.pth")]
    assert convert.main(["to-mmdet", *backbone, "--config-file", SMALL]) == 0
    one_epoch = ["train_cfg.max_epochs=1", "param_scheduler.1.T_max=1", f"load_from={backbone[1]}"]
    two_a_step = ["train_dataloader.batch_size=2", "optim_wrapper.optimizer.lr=0.001"]
    told = [*values, *one_epoch, *two_a_step]
    assert train.main([TOY, "--work-dir", str(place / "work"), "--cfg-options", *told]) == 0
    return place / "work"


def test_the_loss_falls_and_there_is_ap(work: Path) -> None:
    (log,) = work.glob("*/*.log")
    losses = [float(loss) for loss in re.findall(r"Epoch\(train\).*?  loss: ([0-9.]+)", log.read_text("utf-8"))]
    assert len(losses) == 16 and losses[-1] < 0.6 * losses[0]
    assert losses[-1] < min(losses[:8])
    (found,) = work.glob("c2o/val/*/run.json")
    (metrics,) = json.loads(found.read_text(encoding="utf-8"))["metrics"]
    assert 0 < metrics["coco/bbox_mAP"] <= metrics["coco/bbox_mAP_50"] <= 1


@pytest.fixture(scope="module")
def tested(place: Path, work: Path, values: list[str]) -> Path:
    """The directory of the hook after a test with two eval seeds."""
    arguments = ["--work-dir", str(place / "tested"), "--eval-seeds", "0", "3", "--cfg-options", *values]
    assert test.main([TOY, str(work / "epoch_1.pth"), *arguments]) == 0
    return place / "tested/c2o/test"


@pytest.fixture
def take(place: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """The script, with a repository of its own below `place`."""
    path = ROOT / "workflow/scripts/mmdet_results.py"
    spec = importlib.util.spec_from_file_location("mmdet_results", path)
    assert spec is not None and spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    for name in ("requirements", "c2o_model", "c2o_evidence", "workflow"):
        if not (place / name).exists():
            (place / name).symlink_to(ROOT / name)
    (place / "manifests").mkdir(exist_ok=True)
    monkeypatch.chdir(place)
    monkeypatch.setattr(script, "ROOT", place)
    return lambda *arguments: script.main([str(a) for a in arguments])


def test_both_metrics_agree_and_the_results_enter_the_evidence(
    place: Path, work: Path, tested: Path, take: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert take(tested, "--name", "toy_mmdet", "--data", "data/digits") == 0
    said = capsys.readouterr().out
    out = place / "results/toy_mmdet/eval/toy_mmdet/seed0"
    rows = read_tsv(out / "results.tsv", "results")
    about = json.loads((tested / "run.json").read_text(encoding="utf-8"))
    assert [(row["eval_seed"], row["train_seed"], row["sample_step"]) for row in rows] == [(0, 0, 1), (3, 0, 1)]
    for row, theirs in zip(rows, about["metrics"], strict=True):
        for ours, name in NAMES.items():
            assert abs(row[ours] - 100 * theirs[f"coco/bbox_{name}"]) <= 0.05 + 1e-9, ours  # three digits of 1
        assert f"eval seed {row['eval_seed']}: AP {row['AP']:.1f}" in said
        assert (
            row["ckpt_sha256"]
            == sha256_file(work / "epoch_1.pth")
            == sha256_file(place / "results/toy_mmdet" / row["ckpt_path"])
        )
        assert row["dataset_sha256"] == data_manifest.read(place / "data/digits").sha256
    truth = GroundTruth.load(place / "data/digits/val.json")
    stored = read_detections(out / "detections.safetensors")
    assert [truth.evaluate(stored["toy_mmdet", seed])["AP"] for seed in (0, 3)] == [row["AP"] for row in rows]
    record = read_record(out / "record.json")
    assert record.rule == "mmdet_results" and "mmdet 3.3.0" in record.sampled_by("toy_mmdet")
    assert record.product("results").sha256 == sha256_file(out / "results.tsv")
    (entry,) = read_results_manifest(place / "manifests/results_manifest.tsv")
    assert (entry["exp_id"], entry["n_runs"]) == ("toy_mmdet", 2)
    before = (out / "results.tsv").read_bytes()
    assert take(tested, "--name", "toy_mmdet", "--data", "data/digits") == 0
    assert (out / "results.tsv").read_bytes() == before


def test_what_validation_has_found_is_the_same_as_a_test_finds(work: Path, tested: Path) -> None:
    (found,) = work.glob("c2o/val/iter_*/run.json")
    assert found.parent.name == "iter_800"
    about, again = (json.loads(path.read_text(encoding="utf-8")) for path in (found, tested / "run.json"))
    assert about["metrics"][0] == again["metrics"][0]
    same = ("annotation", "checkpoint", "classes", "packages", "sample_step", "train_seed")
    assert {key: about[key] for key in same} == {key: again[key] for key in same}


def test_what_is_not_what_the_run_names_is_refused(
    place: Path, tested: Path, take: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def told(about: dict[str, Any] | None, data: str = "data/digits") -> str:
        (tmp_path / "runs.npz").write_bytes((tested / "runs.npz").read_bytes())
        (tmp_path / "run.json").write_text(json.dumps(about))
        assert take(tmp_path, "--name", "a", "--data", data) == 2
        return capsys.readouterr().err

    about = json.loads((tested / "run.json").read_text(encoding="utf-8"))
    path = about["checkpoint"]["path"]
    written = "it is not what C2OResults writes: test again\n"
    assert told(None).startswith(f"error: {tmp_path}/run.json: ") and told(None).endswith(written)
    place_named = told({**about, "train_seed": "0/../../../a"})
    assert place_named.endswith(f"/run.json: train_seed: '0/../../../a' is not a whole number; {written}")
    assert re.match(f"error: {path}: sha256: expected 0+, found [0-9a-f]{{64}}; restore the file or make it again\n",
                    told({**about, "checkpoint": {"path": path, "sha256": "0" * 64}}))  # fmt: skip
    assert f"{tmp_path}/runs.npz: sha256: expected 0000" in told({**about, "runs_sha256": "0" * 64})
    assert "names no checkpoint (it was not saved when it was validated)" in told({**about, "checkpoint": None})
    other = {**about["annotation"], "sha256": "0" * 64}
    assert "data/digits: none of its splits has the annotation file" in told({**about, "annotation": other})
    assert "none/manifest.json: is missing" in told(about, "none")
    assert not (place / "results/a").exists()
    assert take(tmp_path / "nowhere", "--name", "a", "--data", "data/digits") == 2
    assert "run.json: is missing; name the directory that the hook C2OResults has written" in capsys.readouterr().err
