"""Energy guidance: a real gradient, an energy that falls, the right noise, and nothing at all where it is off."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from c2o_model.checkpoint import save_checkpoint
from c2o_model.config import ConfigError, at_test_time, config_from_dict, typed_config
from c2o_model.evaluation.run import EvalRow, evaluate
from c2o_model.keys import KEYS, TEST_TIME_KEYS
from c2o_model.modeling.quality import QualityHead
from c2o_model.modeling.targets import TrainingBatch
from c2o_model.sampling import guidance as module
from c2o_model.sampling.guidance import QualityEnergy, guided, langevin, normalise, step_sizes
from c2o_model.sampling.noise import guidance_noise
from c2o_model.sampling.sampler import sample
from c2o_model.settings import GuidanceSettings

D = "MODEL.DiffusionDet."
G = D + "QUALITY_GUIDANCE"
IDS = [7, 17, 27, 37]
PLAIN = GuidanceSettings(True, 0.1, 3, "final", 0.5, 4, 0.0, "none", "constant")


def make_energy(chosen: list[list[bool]] | None = None) -> tuple[QualityEnergy, Tensor]:
    """Two sets of four nodes on images of different size, all chosen by default, and where their boxes start."""
    head = QualityHead(5, 16)
    nn.init.normal_(head.mlp[0].weight)
    low = torch.rand(2, 4, 2) * 30
    boxes = torch.cat([low, low + 5 + torch.rand(2, 4, 2) * 20], -1)
    whwh = torch.tensor([[64.0, 48, 64, 48], [80.0, 60, 80, 60]])
    every = torch.ones(2, 4, dtype=torch.bool) if chosen is None else torch.tensor(chosen)
    energy = QualityEnergy(head, torch.randn(2, 4, 5), whwh, torch.tensor([0.3, 0.9]), every, 2.0)
    return energy, energy.to_signal(boxes)


def scalar_energy(energy: QualityEnergy, x: Tensor, m: int) -> float:
    """Written down from the definition, node by node, in double precision."""
    w1, b1, w2, b2 = (v.double() for v in energy.weights.values())
    total = 0.0
    for n in range(x.shape[1]):
        if not energy.chosen[m, n]:
            continue
        cx, cy, w, h = ((float(v) / 2 + 1) / 2 for v in x[m, n])
        geometry = torch.tensor([cx, cy, math.log(w), math.log(h), float(energy.unit_t[m])], dtype=torch.float64)
        hidden = (w1 @ torch.cat([energy.node[m, n].double(), geometry]) + b1).clamp(min=0)
        total += math.log(1 + math.exp(-float(w2[0] @ hidden + b2[0])))
    return total


def test_the_gradient_is_that_of_finite_differences_and_not_zero() -> None:
    energy, x = make_energy([[True, False, True, True], [False, True, True, True]])
    found = energy.gradient(x)
    assert (found[energy.chosen] != 0).all() and (found[~energy.chosen] == 0).all() and not found.requires_grad
    for m in range(2):
        assert float(energy.energy(x)[m]) == pytest.approx(scalar_energy(energy, x, m), rel=1e-5)
        for n in range(4):
            for side in range(4):
                moved = x.double().clone()
                moved[m, n, side] += 1e-5
                up = scalar_energy(energy, moved, m)
                moved[m, n, side] -= 2e-5
                slope = (up - scalar_energy(energy, moved, m)) / 2e-5
                assert float(found[m, n, side]) == pytest.approx(slope, rel=1e-3, abs=1e-5)


@pytest.mark.parametrize("norm", ["none", "proposal", "global"])
@pytest.mark.parametrize("schedule", ["constant", "linear"])
def test_energy_falls_step_by_step_without_noise(norm: str, schedule: str) -> None:
    energy, x = make_energy()
    values = [energy.energy(x)]
    for _ in range(10):
        s = replace(PLAIN, quality_guidance_scale=0.002, quality_guidance_grad_norm=norm,
                    quality_guidance_step_schedule=schedule)  # fmt: skip
        x = langevin(energy, x, s, None)
        values.append(energy.energy(x))
    assert all((after < before).all() for before, after in zip(values[:-1], values[1:], strict=True))


def test_one_langevin_step_is_its_formula() -> None:
    energy, x = make_energy([[True, False, True, True]] * 2)
    noise = torch.randn(1, 2, 4, 4)
    s = replace(PLAIN, quality_guidance_langevin_steps=1, quality_guidance_temperature=0.3)
    found = langevin(energy, x, s, noise)
    expected = x - 0.1 * energy.gradient(x) + math.sqrt(2 * 0.1 * 0.3) * noise[0]
    torch.testing.assert_close(found[:, [0, 2, 3]], expected[:, [0, 2, 3]])
    assert torch.equal(found[:, 1], x[:, 1])  # a node outside the top ones neither moves nor shakes


def test_langevin_samples_have_the_temperature_of_a_quadratic_energy() -> None:
    """In E = |x|^2/2 the chain's stationary variance is 2 tau eta / (1 - (1 - eta)^2) = tau / (1 - eta/2)."""

    class Bowl:
        chosen = torch.ones(1, 2000, dtype=torch.bool)

        def gradient(self, x: Tensor) -> Tensor:
            return x

    noise = torch.randn(60, 1, 2000, 4)
    s = replace(PLAIN, quality_guidance_langevin_steps=60, quality_guidance_temperature=0.5)
    found = langevin(Bowl(), torch.zeros(1, 2000, 4), s, noise)  # type: ignore[arg-type]
    assert float(found.var()) == pytest.approx(0.5 / (1 - 0.05), rel=0.06)  # 8000 samples: 4 standard errors


def test_norms_and_step_sizes_by_hand() -> None:
    g = torch.tensor([[[3.0, 4, 0, 0], [0, 0, 0, 12]], [[0.0, 0, 0, 0], [0, 2, 0, 0]]])
    assert torch.equal(normalise(g, "none"), g)
    assert normalise(g, "proposal")[0].tolist() == [pytest.approx([0.6, 0.8, 0, 0]), [0, 0, 0, 1]]
    assert normalise(g, "global")[0, 1, 3] == pytest.approx(12 / 13)  # of its own set: 5-12-13
    assert normalise(g, "global")[1].tolist() == [[0, 0, 0, 0], [0, 1, 0, 0]]
    assert step_sizes(PLAIN) == [0.1] * 4
    linear = step_sizes(replace(PLAIN, quality_guidance_step_schedule="linear"))
    assert linear == pytest.approx([0.1, 0.075, 0.05, 0.025])


def test_which_steps_are_guided() -> None:
    times = [999, 749, 499, 249]
    for mode, expected in {"final": [0, 0, 0, 1], "all": [1, 1, 1, 1], "threshold": [0, 0, 1, 1]}.items():
        s = replace(PLAIN, quality_guidance_mode=mode)
        assert [guided(t, 1000, t == 249, s) for t in times] == [bool(e) for e in expected]
        assert not any(guided(t, 1000, True, replace(s, quality_guidance_scale=0.0)) for t in times)
        assert not any(guided(t, 1000, True, replace(s, quality_guidance=False)) for t in times)


def test_noise_is_keyed_by_seed_image_restart_and_step() -> None:
    keys = [(0, 1, 0), (0, 1, 1), (0, 2, 0), (5, 1, 0)]
    together = guidance_noise(keys, 3, 2, 6, torch.device("cpu"))
    assert together.shape == (2, 4, 6, 4)
    for i, key in enumerate(keys):
        assert torch.equal(guidance_noise([key], 3, 2, 6, torch.device("cpu"))[:, 0], together[:, i])
    rows = {tuple(row.tolist()) for row in together.flatten(0, 1).flatten(1)}
    rows |= {tuple(row.tolist()) for row in guidance_noise(keys, 4, 2, 6, torch.device("cpu")).flatten(0, 1).flatten(1)}
    assert len(rows) == 16


def run(detector: Any, make_config: Any, batch: TrainingBatch, steps: int = 3, **keys: Any) -> list[Tensor]:
    named = {f"{G}{k}": v for k, v in keys.items()}
    cfg = at_test_time(make_config(QUALITY_HEAD=True, QUALITY_SCORE_REWEIGHT=True), {D + "SAMPLE_STEP": steps, **named})
    detector.settings = typed_config(cfg)
    with torch.no_grad():
        features = detector.features(batch.images)
        found = sample(detector, features, batch.whwh, IDS, [0, 5], detector.settings.sampler)
    return [getattr(d, part) for image in found for d in image for part in ("labels", "scores", "boxes")]


def test_off_and_scale_zero_change_no_bit(make_config: Any, make_detector: Any, tiny_batch: TrainingBatch) -> None:
    detector = make_detector(QUALITY_HEAD=True, QUALITY_SCORE_REWEIGHT=True)
    plain = run(detector, make_config, tiny_batch)
    wild = {"_MODE": "all", "_LANGEVIN_STEPS": 5, "_TEMPERATURE": 2.0, "_GRAD_NORM": "global", "_TOPK": 2}
    for keys in ({"": True, "_SCALE": 0.0, **wild}, {"": False, "_SCALE": 3.0, **wild}):
        assert all(
            torch.equal(a, b) for a, b in zip(run(detector, make_config, tiny_batch, **keys), plain, strict=True)
        )
    cold = {**wild, "_TEMPERATURE": 0.0}
    for keys in ({"": True, "_SCALE": 0.3, **wild}, {"": True, "_SCALE": 0.3, **cold}):
        moved = run(detector, make_config, tiny_batch, **keys)
        again = run(detector, make_config, tiny_batch, **keys)
        assert all(torch.equal(a, b) for a, b in zip(moved, again, strict=True))
        assert any(a.shape != b.shape or not torch.equal(a, b) for a, b in zip(moved, plain, strict=True))


@pytest.mark.parametrize("mode", ["final", "all", "threshold"])
def test_an_image_does_not_notice_its_company(
    make_config: Any, make_detector: Any, tiny_batch: TrainingBatch, mode: str
) -> None:
    detector = make_detector(QUALITY_HEAD=True)
    keys = {f"{G}": True, f"{G}_SCALE": 0.05, f"{G}_MODE": mode, f"{G}_GRAD_NORM": "global", f"{G}_TOPK": 4,
            f"{G}_LANGEVIN_STEPS": 2, f"{G}_TEMPERATURE": 0.1, D + "SAMPLE_STEP": 2}  # fmt: skip
    detector.settings = typed_config(at_test_time(make_config(QUALITY_HEAD=True), keys))
    s = detector.settings.sampler
    with torch.no_grad():
        features = detector.features(tiny_batch.images)
        together = sample(detector, features, tiny_batch.whwh, IDS, [3, 1], s)
        for i in (0, 3):
            alone = sample(detector, [f[i : i + 1] for f in features], tiny_batch.whwh[:1], IDS[i : i + 1], [1], s)
            torch.testing.assert_close(alone[0][0].scores, together[i][1].scores, rtol=1e-5, atol=1e-5)
            torch.testing.assert_close(alone[0][0].boxes, together[i][1].boxes, rtol=1e-4, atol=5e-3)


@pytest.mark.stack_feature("guidance", stack="detectron2")
def test_the_guided_boxes_are_reported_judged_and_better(
    make_config: Any, make_detector: Any, tiny_batch: TrainingBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the last step: only the top nodes move, their energy falls, quality is that of the new boxes."""
    detector, seen = make_detector(QUALITY_HEAD=True), []
    real = module.guide

    def spy(detector: Any, out: Any, *args: Any) -> Any:
        seen.append((out, real(detector, out, *args)))
        return seen[-1][1]

    monkeypatch.setattr("c2o_model.sampling.sampler.guide", spy)
    run(detector, make_config, tiny_batch, **{"": True, "_SCALE": 0.02, "_TOPK": 3, "_LANGEVIN_STEPS": 3})
    assert len(seen) == 3 and all(before is after for before, after in seen[:2])
    before, after = seen[2]
    top = detector.scores(before).amax(-1).topk(3, dim=1).indices
    moved = (before.boxes[-1] != after.boxes[-1]).any(-1)
    assert torch.equal(moved, torch.zeros_like(moved).scatter(1, top, True))
    assert torch.equal(before.boxes[:-1], after.boxes[:-1]) and torch.equal(before.logits, after.logits)
    assert (after.quality.sigmoid()[moved].log().sum() > before.quality.sigmoid()[moved].log().sum()).item()
    judged = detector.head.quality_head(before.node, after.boxes[-1], tiny_batch.whwh.repeat_interleave(2, 0),
                                        torch.full((8,), 332 / 1000))  # fmt: skip
    torch.testing.assert_close(after.quality, judged, rtol=1e-4, atol=1e-5)


def test_guidance_works_where_evaluation_records_no_gradient(
    make_config: Any, make_detector: Any, tiny_split: Any, tmp_path: Path
) -> None:
    """`evaluate` builds and runs its model in inference mode."""
    path = tmp_path / "m.safetensors"
    save_checkpoint(path, make_detector(QUALITY_HEAD=True).state_dict(), {})
    rows = [EvalRow("off", 2), EvalRow("on", 2, ((G, True), (G + "_SCALE", 0.1), (G + "_TEMPERATURE", 0.1)))]
    off, on = evaluate(make_config(QUALITY_HEAD=True), path, tiny_split, rows, [0])
    assert off.box.shape != on.box.shape or (off.box != on.box).any()


def test_guidance_needs_a_quality_head_and_is_a_test_time_switch() -> None:
    with pytest.raises(ConfigError) as caught:
        config_from_dict({G: True})
    assert str(caught.value) == f"{G}: True needs {D}QUALITY_HEAD: True"
    names = {key.name for key in KEYS if key.name.startswith(G)}
    assert len(names) == 9 and names <= TEST_TIME_KEYS
