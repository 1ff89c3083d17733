"""AP while training: the published AP of the published weights, at the right iterations, and the training unmoved."""

from __future__ import annotations

import json
import math
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from c2o_evidence.detections import Detections
from c2o_evidence.metrics import GroundTruth
from c2o_model.checkpoint import read_checkpoint
from c2o_model.config import ConfigError
from c2o_model.evaluation.run import EvalRow, evaluate
from c2o_model.training import run as module
from c2o_model.training.run import TrainingStopped
from c2o_model.training.validation import Onlooker, ValidationAP
from tests.c2o_model.training.conftest import PRETRAINER

EMA = {"MODEL_EMA.ENABLED": True, "MODEL_EMA.DECAY": 0.9, "MODEL_EMA.RAMP": 10}
FROZEN = {"SOLVER.BACKBONE_MULTIPLIER": 0.0}
FREE = {**EMA, "SOLVER.MAX_ITER": 30, "MODEL.RESNETS.NORM": "BN"}  # batch statistics, which evaluation reads


def rows(curve: list[dict[str, float]], drop: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    """Rows that compare by value: nan is nan."""
    return [{k: "nan" if math.isnan(v) else v for k, v in row.items() if k not in drop} for row in curve]


@pytest.fixture
def run(run_training: Any, make_config: Any, tiny_split: Any) -> Any:
    """As `run_training`, with a measure on the tiny set wherever TEST.EVAL_PERIOD asks for one."""

    def go(directory: Path, values: Any, more: Any = None, **keys: Any) -> Any:
        measure = ValidationAP(make_config(values, **keys), tiny_split)
        return run_training(directory, values, {"evaluate": measure, **(more or {})}, **keys)

    return go


def test_training_is_the_same_with_and_without(run: Any, run_training: Any, tmp_path: Path) -> None:
    """Whoever measures, whatever it does, wherever the run was stopped."""
    told: list[Any] = []

    def meddle(model: Any) -> float:
        assert not model.training and not torch.is_grad_enabled()
        assert not any(p.requires_grad or p.grad is not None for p in model.parameters())
        torch.rand(7)
        model.train()
        for parameter in model.parameters():
            parameter.fill_(3.0)
        return 1.5

    plain = run_training(tmp_path / "plain", FREE, DROPOUT=0.1)
    run_training(tmp_path / "meddled", {**FREE, "TEST.EVAL_PERIOD": 20}, {"evaluate": meddle}, DROPOUT=0.1)
    values = {**FREE, "TEST.EVAL_PERIOD": 5}  # every row of the curve
    seen = run(tmp_path / "seen", values, DROPOUT=0.1)
    assert "AP" not in plain[0] and rows(seen, ("AP",)) == plain
    assert all(0 <= row["AP"] <= 100 for row in seen)
    for after in (7, 17):  # stopped after iterations 7 and 24
        answers = [False] * (after - 1) + [True]
        more = {"stop": lambda answers=answers: answers.pop(0), "progress": told.append}
        with pytest.raises(TrainingStopped):
            run(tmp_path / "cut", values, more, DROPOUT=0.1)
    assert rows(run(tmp_path / "cut", values, {"progress": told.append}, DROPOUT=0.1)) == rows(seen)
    assert told[-1]["ap"] == seen[-1]["AP"]
    first = (tmp_path / "plain" / "m.safetensors").read_bytes()
    assert all((tmp_path / name / "m.safetensors").read_bytes() == first for name in ("meddled", "seen", "cut"))


def test_it_is_the_published_ap_of_the_published_weights(
    run: Any, run_training: Any, make_config: Any, tiny_split: Any, tmp_path: Path
) -> None:
    """Another way from checkpoint to AP: an evaluation of the file, by the metrics of the tables."""
    values = {**EMA, **FROZEN, "SOLVER.MAX_ITER": 30, "TEST.EVAL_PERIOD": 20}
    keys = {"QUALITY_HEAD": True, "PRIOR_PROB": 0.4}
    curve = run(tmp_path / "seen", values, SAMPLE_STEP=4, **keys)
    cfg = make_config(values, **keys)
    (found,) = evaluate(cfg, tmp_path / "seen" / "m.safetensors", tiny_split, [EvalRow("x", 1)], [0])
    expected = GroundTruth.load(tiny_split.annotation).evaluate(Detections.from_arrays(vars(found)))["AP"]
    assert curve[-1]["AP"] == pytest.approx(expected, rel=1e-12) and expected > 0
    assert curve[0]["AP"] != curve[1]["AP"]
    run_training(tmp_path / "plain", {**values, "TEST.EVAL_PERIOD": 0}, SAMPLE_STEP=4, **keys)
    both = [(tmp_path / name / "m.safetensors").read_bytes() for name in ("plain", "seen")]
    assert both[0] == both[1]


@pytest.mark.parametrize(("period", "measured"), [(20, [20, 40, 60, 70]), (30, [40, 60, 70]), (64, [70]), (99, [70])])
def test_when_it_is_measured(make_config: Any, make_detector: Any, period: int, measured: list[int]) -> None:
    """At the first row from each multiple on, and at the end."""
    cfg, model = make_config({"SOLVER.MAX_ITER": 70, "TEST.EVAL_PERIOD": period}), make_detector()
    onlooker = Onlooker(cfg, model, lambda _: 7.5, [])
    found = {
        end: onlooker.row(end, count, model.state_dict())["AP"]
        for end, count in ((20, 20), (40, 20), (60, 20), (70, 10))
    }
    assert [end for end, ap in found.items() if not math.isnan(ap)] == measured and found[70] == 7.5


def test_it_remembers_the_last_one(make_config: Any, make_detector: Any) -> None:
    model, answers = make_detector(), iter([12.5, math.nan, 31.0])
    cfg = make_config({"SOLVER.MAX_ITER": 70, "TEST.EVAL_PERIOD": 20})
    onlooker = Onlooker(cfg, model, lambda _: next(answers), [])
    seen = [onlooker.ap]
    for end in (20, 40, 60):
        onlooker.row(end, 20, model.state_dict())
        seen.append(onlooker.ap)
    assert seen == [None, 12.5, 12.5, 31.0]
    assert Onlooker(cfg, model, lambda _: 0.0, [{"AP": 2.0}, {"AP": 4.5}, {"AP": math.nan}]).ap == 4.5  # goes on


def test_measuring_draws_from_no_generator(make_config: Any, make_detector: Any, tiny_split: Any) -> None:
    model, measure = make_detector(), ValidationAP(make_config(), tiny_split)
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    first = measure(model)
    assert measure(model) == first
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1:] == (random.getstate(), np.random.get_state()[1].tolist())


def test_progress_tells_it(run_training: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.time, "monotonic", iter(range(10**6)).__next__)  # every iteration is told
    told: list[Any] = []
    values = {"SOLVER.MAX_ITER": 22, "TEST.EVAL_PERIOD": 20, "SOLVER.IMS_PER_BATCH": 1}
    answers = iter([12.5, 31.0])
    run_training(tmp_path, values, {"evaluate": lambda _: next(answers), "progress": told.append})
    seen = {now["iteration"]: now["ap"] for now in told}
    assert (seen[2], seen[20], seen[21], seen[22]) == (None, 12.5, 12.5, 31.0)
    assert json.loads((tmp_path / "state" / "progress.json").read_text())["ap"] == 31.0


def test_the_first_images_alone(make_config: Any, make_detector: Any, tiny_split: Any, monkeypatch: Any) -> None:
    from c2o_model.training import validation

    seen: list[int] = []
    real = validation.sample
    monkeypatch.setattr(validation, "sample", lambda d, f, w, ids, *a: seen.extend(ids) or real(d, f, w, ids, *a))
    cfg, model = make_config({"TEST.EVAL_IMAGES": 5}), make_detector()
    ap = ValidationAP(cfg, tiny_split)(model)
    assert seen == list(tiny_split.image_ids[:5])
    assert ap == ValidationAP(make_config(), tiny_split.select(list(range(5))))(model)
    assert ValidationAP(make_config({"TEST.EVAL_IMAGES": 99}), tiny_split)(model) == pytest.approx(
        ValidationAP(make_config(), tiny_split)(model), abs=0
    )


def test_pyramids_of_a_frozen_backbone_are_computed_once(
    make_config: Any, make_detector: Any, tiny_split: Any, monkeypatch: Any
) -> None:
    calls: list[int] = []
    for values, passes in ((FROZEN, 2), ({}, 4), ({**FROZEN, "DATALOADER.FEATURE_CACHE_MB": 0}, 4)):
        model = make_detector(values)
        real = type(model).features
        monkeypatch.setattr(type(model), "features", lambda m, i, real=real: calls.append(len(i)) or real(m, i))
        calls.clear()
        measure = ValidationAP(make_config(values), tiny_split)
        assert measure(model) == measure(model)
        assert len(calls) == passes  # 12 images in batches of 8
        monkeypatch.undo()


def test_nothing_to_find_is_undefined_and_nothing_found_is_nought(
    make_config: Any, make_detector: Any, tiny_split: Any, tmp_path: Path
) -> None:
    empty = json.loads(tiny_split.annotation.read_text())
    empty["annotations"] = []
    (tmp_path / "set.json").write_text(json.dumps(empty))
    model = make_detector()
    assert math.isnan(ValidationAP(make_config(), replace(tiny_split, annotation=tmp_path / "set.json"))(model))
    blind = ValidationAP(make_config({"TEST.DETECTIONS_PER_IMAGE": 0}), tiny_split)
    assert blind(model) == 0.0


def test_what_cannot_be_measured_is_said_before_training(
    run_training: Any, make_config: Any, tiny_split: Any, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="^TEST.EVAL_PERIOD: 20 needs a split to evaluate on; give one, or set it"):
        run_training(tmp_path, {"TEST.EVAL_PERIOD": 20})
    with pytest.raises(ConfigError, match="NUM_CLASSES: 4, but .*set.json, which TEST.EVAL_PERIOD evaluates on, has 3"):
        ValidationAP(make_config(NUM_CLASSES=4), tiny_split)
    with pytest.raises(ConfigError, match="TEST.EVAL_PERIOD: -1 is below the smallest allowed value 0"):
        make_config({"TEST.EVAL_PERIOD": -1})


def test_a_backbones_pretraining_has_none(run_training: Any, tmp_path: Path) -> None:
    curve = run_training(tmp_path, {**PRETRAINER, "SOLVER.MAX_ITER": 2, "TEST.EVAL_PERIOD": 20})
    assert "AP" not in curve[-1] and "progress.json" in {p.name for p in (tmp_path / "state").iterdir()}
    assert read_checkpoint(tmp_path / "m.safetensors")[0]
