"""The pipeline detects what the core's sampler detects, bit for bit."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest
import torch

from c2o_model.diffusion.labels import LabelDiffusion
from c2o_model.modeling.targets import TrainingBatch
from c2o_model.sampling.detections import Detections
from c2o_model.sampling.sampler import sample
from tests.c2o_model.diffusers.conftest import KINDS, MakePair

D = "MODEL.DiffusionDet."
IDS = [7, 17, 27, 37]
SEEDS = [0, 3]
GUIDANCE = {
    D + "QUALITY_GUIDANCE": True,
    D + "QUALITY_GUIDANCE_SCALE": 0.5,
    D + "QUALITY_GUIDANCE_TEMPERATURE": 0.1,
    D + "QUALITY_GUIDANCE_MODE": "all",
}
VARIANTS: dict[str, dict[str, Any]] = {
    "no guidance": {},
    "no ensemble": {D + "USE_ENSEMBLE": False},
    "no renewal, eta 0": {D + "BOX_RENEWAL": False, D + "SAMPLE_ETA": 0.0},
    "eta 0.3": {D + "SAMPLE_ETA": 0.3},
    "restarts": {D + "SAMPLE_RESTARTS": 2},
    "compat, no NMS": {D + "SAMPLER_COMPAT": "diffusiondet", D + "USE_NMS": False},
    "more nodes": {D + "TEST_NUM_PROPOSALS": 13},
}


def same(a: list[list[Detections]], b: list[list[Detections]]) -> None:
    assert [len(image) for image in a] == [len(image) for image in b]
    for one, other in zip(itertools.chain(*a), itertools.chain(*b), strict=True):
        for part in ("boxes", "scores", "labels"):
            assert torch.equal(getattr(one, part), getattr(other, part)), part
    assert sum(len(d.scores) for d in itertools.chain(*a)) > 8


def compare(pair: Any, batch: TrainingBatch, steps: int, options: dict[str, Any]) -> None:
    detector, pipeline = pair
    before = detector.settings
    fields = {name.removeprefix(D).lower(): value for name, value in options.items()}
    parts = {
        part: {k: v for k, v in fields.items() if hasattr(getattr(before, part), k)}
        for part in ("sampler", "guidance", "quality")
    }
    assert sum(map(len, parts.values())) == len(fields)
    detector.settings = replace(before, **{p: replace(getattr(before, p), **v) for p, v in parts.items()})
    try:
        sampler = replace(detector.settings.sampler, sample_step=steps)
        with torch.no_grad():
            features = detector.features(batch.images)
            expected = sample(detector, features, batch.whwh, IDS, SEEDS, sampler, 100)
    finally:
        detector.settings = before
    images = list(batch.images)
    found = pipeline(images, IDS, SEEDS, num_inference_steps=steps, options=options)
    same(found.detections, expected)


@pytest.mark.stack_feature(
    "steps", "labels_mask", "labels_uniform", "labels_hard", "labels_gaussian", "checkpoint_from_c2o", stack="diffusers"
)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("steps", [1, 4, 20])
def test_every_kind_of_detector(make_pair: MakePair, tiny_batch: TrainingBatch, kind: str, steps: int) -> None:
    compare(make_pair(kind), tiny_batch, steps, {D + "BOX_RENEWAL_THRESH": 0.6})


@pytest.mark.stack_feature("renewal", "ensemble", "restarts", stack="diffusers")
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("kind", ["plain", "uniform", "hard", "gaussian"])
def test_every_way_to_sample(make_pair: MakePair, tiny_batch: TrainingBatch, kind: str, variant: str) -> None:
    compare(make_pair(kind), tiny_batch, 4, {D + "BOX_RENEWAL_THRESH": 0.6, **VARIANTS[variant]})


@pytest.mark.stack_feature("guidance", stack="diffusers")
@pytest.mark.parametrize("steps", [1, 4, 20])
@pytest.mark.parametrize("kind", ["hybrid", "hard"])
def test_guidance(make_pair: MakePair, tiny_batch: TrainingBatch, kind: str, steps: int) -> None:
    compare(make_pair(kind), tiny_batch, steps, GUIDANCE)


def test_steps_and_eta_come_from_the_call_or_the_options_or_the_parts(
    make_pair: MakePair, tiny_batch: TrainingBatch
) -> None:
    pipeline, images = make_pair("hybrid")[1], list(tiny_batch.images)

    def detect(*args: Any, **options: Any) -> list[list[Detections]]:
        return pipeline(images, IDS, SEEDS, *args, options={D + k: v for k, v in options.items()}).detections

    same(detect(SAMPLE_STEP=3, SAMPLE_ETA=0.5), detect(3, 0.5))
    same(detect(3, 0.5, SAMPLE_STEP=4, SAMPLE_ETA=0.1), detect(3, 0.5))
    same(detect(), detect(1, 1.0))  # SAMPLE_STEP's and SAMPLE_ETA's defaults


@pytest.mark.stack_feature("aniso_noise", stack="diffusers")
def test_anisotropic_noise(make_pair: MakePair, tiny_batch: TrainingBatch) -> None:
    aniso = {"ANISO_NOISE": True, "ANISO_NOISE_SIGMA_W": 0.5, "ANISO_NOISE_SIGMA_H": 1.5}
    pair = make_pair("hybrid", **aniso)
    assert pair[1].box_scheduler.config.noise_sigmas == [1.0, 1.0, 0.5, 1.5]
    compare(pair, tiny_batch, 4, {})


def test_it_is_the_schedulers_that_walk(
    make_pair: MakePair, tiny_batch: TrainingBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every step is theirs, and others lead elsewhere: where the core goes with the same process and eta."""
    detector, pipeline = make_pair("hybrid")
    boxes, labels = pipeline.box_scheduler, pipeline.label_scheduler
    other = type(boxes).from_config(boxes.config, eta=0.25), type(labels).from_config(labels.config, keep_power=3.0)
    images, visited = list(tiny_batch.images), {"box_scheduler": [], "label_scheduler": []}
    for name, scheduler in zip(visited, other, strict=True):
        real, times = scheduler.step, visited[name]
        monkeypatch.setattr(
            scheduler, "step", lambda x, t, *a, real=real, times=times, **k: (times.append(t), real(x, t, *a, **k))[1]
        )
    expected_process = LabelDiffusion(3, "mask", detector.label_process.keep**3)
    before = pipeline(images, IDS, SEEDS, 4).detections
    try:
        pipeline.box_scheduler, pipeline.label_scheduler = other
        found = pipeline(images, IDS, SEEDS, 4).detections
        given = pipeline(images, IDS, SEEDS, 4, eta=1.0).detections
        monkeypatch.setattr(detector, "label_process", expected_process)
        with torch.no_grad():
            features = detector.features(tiny_batch.images)
            for eta, here in ((0.25, found), (1.0, given)):
                sampler = replace(detector.settings.sampler, sample_step=4, sample_eta=eta)
                same(here, sample(detector, features, tiny_batch.whwh, IDS, SEEDS, sampler))
    finally:
        pipeline.box_scheduler, pipeline.label_scheduler = boxes, labels
    assert visited == {name: [999, 749, 499] * 2 for name in visited}
    for one in (found, given):
        assert not torch.equal(one[0][0].boxes, before[0][0].boxes)
    same(pipeline(images, IDS, SEEDS, 4).detections, before)
