"""Gaussian label states: the forward process from scalars, DDIM's consistency, and what training and sampling make."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from c2o_model.diffusion.gaussian_labels import GaussianLabels
from c2o_model.diffusion.schedules import GaussianSchedule
from c2o_model.modeling.targets import TrainingBatch, make_noisy_nodes
from c2o_model.sampling import steps as module
from c2o_model.sampling.noise import START, label_noise, step_noise
from c2o_model.sampling.sampler import run_teacher, sample
from c2o_model.training.draws import draw

IDS = [7, 17, 27, 37]
PROCESS = GaussianLabels(3, GaussianSchedule.cosine(1000), 2.0)


def alpha(t: int) -> float:
    """alpha_bar_t of the cosine schedule, by its definition."""
    f = [math.cos((i / 1000 + 0.008) / 1.008 * math.pi / 2) ** 2 for i in range(t + 2)]
    return math.prod(1 - min(1 - b / a, 0.999) for a, b in zip(f[:-1], f[1:], strict=True))


def test_the_forward_process_from_scalars() -> None:
    labels, noise, t = torch.tensor([[0, 3], [2, 1]]), torch.randn(2, 2, 4), torch.tensor([10, 700])
    found = PROCESS.q_sample(labels, t, noise)
    for b in range(2):
        a = alpha(int(t[b]))
        for n in range(2):
            for k in range(4):
                clean = 2.0 if int(labels[b, n]) == k else -2.0
                expected = math.sqrt(a) * clean + math.sqrt(1 - a) * float(noise[b, n, k])
                assert float(found[b, n, k]) == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_the_embedding_sees_one_hot_when_clean_and_stays_in_the_unit_interval() -> None:
    clean = PROCESS.q_sample(torch.tensor([[0, 1, 2, 3]]), 0, torch.zeros(1, 4, 4))
    torch.testing.assert_close(PROCESS.seen(clean)[0], torch.eye(4), rtol=0, atol=1e-4)
    assert torch.equal(PROCESS.seen(torch.tensor([-9.0, -2, 0, 1, 2, 9])), torch.tensor([0, 0, 0.5, 0.75, 1, 1]))


def test_ddim_with_the_true_label_walks_along_the_forward_process() -> None:
    labels, noise = torch.tensor([[0, 2, 3]]), torch.randn(1, 3, 4)
    truth = torch.eye(4)[labels]
    x = PROCESS.q_sample(labels, 900, noise)
    found = PROCESS.step(x, truth, 900, 300, 0.0, None)
    torch.testing.assert_close(found, PROCESS.q_sample(labels, 300, noise), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(PROCESS.step(x, truth, 900, -1, 1.0, noise), truth * 4 - 2)


def test_training_nodes_carry_their_object_or_unknown(tiny_batch: TrainingBatch) -> None:
    schedule = GaussianSchedule.cosine(1000)
    draws = draw(3, 4, 4, 8, tiny_batch.mask.shape[1], 1000, label_states=4)
    draws.t = torch.zeros(4).long()
    nodes = make_noisy_nodes(tiny_batch, draws, schedule, 2.0, PROCESS)
    assert nodes.label_state is not None
    for b in range(4):
        objects = [int(v) for v, m in zip(tiny_batch.labels[b], tiny_batch.mask[b], strict=True) if m]
        for n in range(8):
            clean = torch.full((4,), -2.0)
            clean[objects[n] if n < len(objects) else 3] = 2.0
            x = math.sqrt(alpha(0)) * clean + math.sqrt(1 - alpha(0)) * draws.label_noise[b, n]
            torch.testing.assert_close(nodes.label_state[b, n], (x.clamp(-2, 2) / 2 + 1) / 2, rtol=1e-4, atol=1e-5)
    draws.label_noise = None
    with pytest.raises(ValueError, match=r"Gaussian label states need label noise: draw\(..., label_states=K\+1\)"):
        make_noisy_nodes(tiny_batch, draws, schedule, 2.0, PROCESS)


def build(make_detector: Any, **keys: Any) -> Any:
    detector = make_detector(LABEL_STATE=True, **keys)
    nn.init.normal_(detector.head.label_embedding.projection.weight)
    return detector


def test_the_loss_reaches_the_embedding_and_a_fresh_one_is_a_no_op(
    make_detector: Any, tiny_batch: TrainingBatch
) -> None:
    draws = draw(3, 4, 4, 8, tiny_batch.mask.shape[1], 1000, label_states=4)
    detector = build(make_detector)
    losses = detector.losses(tiny_batch, draws)
    torch.stack(list(losses.values())).sum().backward()
    assert all((p.grad != 0).any() for p in detector.head.label_embedding.parameters())
    plain, fresh = make_detector(), make_detector(LABEL_STATE=True)
    fresh.load_state_dict(plain.state_dict(), strict=False)  # the projection stays at its initial zero
    expected, found = plain.losses(tiny_batch, draws), fresh.losses(tiny_batch, draws)
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def loop(detector: Any, features: list[Tensor], whwh: Tensor, key: tuple[int, int, int], steps: int,
         threshold: float) -> list[Tensor]:  # fmt: skip
    """The label states that the head sees, one image at a time, written down from DDIM; boxes and labels alike."""
    cpu, scale = torch.device("cpu"), 2.0
    grid = [math.floor(-1 + 1000 * i / steps + 1e-9) for i in range(steps, -1, -1)]
    x = step_noise([key], START, 8, cpu).ddim[0]
    z = label_noise([key], START, 8, 4, cpu).ddim[0]
    seen = []
    for index, (t, s) in enumerate(zip(grid[:-1], grid[1:], strict=True)):
        unit = (x.clamp(-scale, scale) / scale + 1) / 2
        boxes = torch.cat([unit[:, :2] - unit[:, 2:] / 2, unit[:, :2] + unit[:, 2:] / 2], 1) * whwh
        seen.append((z.clamp(-scale, scale) / scale + 1) / 2)
        out = detector.head(features, boxes[None], torch.tensor([t]), whwh[None], seen[-1][None])
        if s < 0:
            break
        box, logits = out.boxes[-1, 0] / whwh, out.logits[-1, 0]
        x0 = torch.cat([(box[:, :2] + box[:, 2:]) / 2, box[:, 2:] - box[:, :2]], 1)
        x0 = ((x0 * 2 - 1) * scale).clamp(-scale, scale)
        odds = torch.cat([logits, torch.zeros(8, 1)], 1).exp()
        z0 = (odds / odds.sum(1, keepdim=True) * 2 - 1) * scale
        a, b = alpha(t), alpha(s)
        sigma = math.sqrt((1 - a / b) * (1 - b) / (1 - a))
        rest = math.sqrt(max(1 - b - sigma**2, 0))
        boxes_noise, labels_noise = step_noise([key], index, 8, cpu), label_noise([key], index, 8, 4, cpu)
        stale = logits.sigmoid().amax(1) <= threshold
        moved = []
        for value, clean, noise in ((x, x0, boxes_noise), (z, z0, labels_noise)):
            eps = (value - math.sqrt(a) * clean) / math.sqrt(1 - a)
            new = math.sqrt(b) * clean + rest * eps + sigma * noise.ddim[0]
            moved.append(torch.where(stale[:, None], noise.renewal[0], new))
        x, z = moved
    return seen


@pytest.mark.stack_feature("labels_gaussian", stack="detectron2")
@pytest.mark.parametrize("threshold", [0.0, 0.6, 1.0])
def test_the_sampler_is_the_loop(
    make_detector: Any, tiny_batch: TrainingBatch, monkeypatch: pytest.MonkeyPatch, threshold: float
) -> None:
    detector = build(make_detector)
    real, seen = detector.head.forward, []
    with torch.no_grad():
        features = detector.features(tiny_batch.images)
        expected = {
            (i, s): loop(detector, [f[i : i + 1] for f in features], tiny_batch.whwh[i], (s, IDS[i], 0), 4, threshold)
            for i in (0, 3) for s in (0, 3)
        }  # fmt: skip
        monkeypatch.setattr(detector.head, "forward", lambda *a: seen.append(a[4]) or real(*a))
        settings = replace(detector.settings.sampler, sample_step=4, box_renewal_thresh=threshold)
        sample(detector, features, tiny_batch.whwh, IDS, [0, 3], settings)
    assert len(seen) == 4
    for (i, s), states in expected.items():
        for index, state in enumerate(states):
            torch.testing.assert_close(seen[index][2 * i + (s > 0)], state, rtol=1e-3, atol=1e-3)


def test_the_teacher_is_deterministic_and_reads_label_noise_from_its_keys(
    make_detector: Any, tiny_batch: TrainingBatch
) -> None:
    detector = build(make_detector)
    features = [f.detach() for f in detector.features(tiny_batch.images)]
    start = torch.randn(4, 8, 4)
    first, again, other = (
        run_teacher(detector, features, tiny_batch.whwh, start, 3, 0.0, [(seed, i, 0) for i in range(4)])
        for seed in (0, 0, 1)
    )
    assert torch.equal(first.boxes, again.boxes) and not torch.equal(first.boxes, other.boxes)


@pytest.mark.parametrize("keys", [{}, {"USE_FOCAL": False}], ids=["sigmoid", "softmax"])
def test_steps_without_eta_draw_no_label_noise(
    make_detector: Any, tiny_batch: TrainingBatch, monkeypatch: pytest.MonkeyPatch, keys: dict[str, Any]
) -> None:
    detector, drawn = build(make_detector, **keys), []
    real = module.label_noise
    monkeypatch.setattr(module, "label_noise", lambda *a: drawn.append(a[1]) or real(*a))
    features = [f.detach() for f in detector.features(tiny_batch.images)]
    run_teacher(detector, features, tiny_batch.whwh, torch.randn(4, 8, 4), 3, 0.0, [(0, i, 0) for i in range(4)])
    assert drawn == [START]
