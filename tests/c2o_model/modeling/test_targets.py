"""Training nodes by hand: padding, noising, the placeholder, too many objects, and noisy labels."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from c2o_model.diffusion.labels import LabelDiffusion
from c2o_model.diffusion.schedules import GaussianSchedule
from c2o_model.modeling.targets import TrainingBatch, TrainingDraws, make_noisy_nodes
from c2o_model.training.draws import draw

T, SCALE = 1000, 2.0
SCHEDULE = GaussianSchedule.cosine(T)


def alpha_bar(t: int) -> float:
    """Cosine schedule (arXiv 2102.09672, eq. 17) as a running product, clipped at beta 0.999."""

    def f(i: int) -> float:
        return math.cos((i / T + 0.008) / 1.008 * math.pi / 2) ** 2

    return math.prod(1 - min(1 - f(i + 1) / f(i), 0.999) for i in range(t + 1))


def batch_of(
    *images: list[tuple[float, float, float, float, int]], size: tuple[int, int] = (200, 100)
) -> TrainingBatch:
    """Images of (x0, y0, x1, y1, label) boxes, padded."""
    most = max(1, *(len(i) for i in images))
    boxes, labels = torch.zeros(len(images), most, 4), torch.full((len(images), most), -1)
    for b, image in enumerate(images):
        for g, (*box, label) in enumerate(image):
            boxes[b, g], labels[b, g] = torch.tensor(box), label
    whwh = torch.tensor([[size[0], size[1]] * 2] * len(images)).float()
    return TrainingBatch(torch.zeros(len(images), 3, size[1], size[0]), boxes, labels, labels >= 0, whwh)


def draws_at(t: list[int], nodes: int, most: int, seed: int = 0) -> TrainingDraws:
    d = draw(seed, 0, len(t), nodes, most, T)
    d.t = torch.tensor(t)
    return d


def expected_boxes(batch: TrainingBatch, d: TrainingDraws, b: int, order: list[int] | None = None) -> Tensor:
    """Node by node: the objects, then N(0.5, 1/6) boxes, each noised and brought back to pixels."""
    real = [g for g in range(batch.mask.shape[1]) if batch.mask[b, g]] if order is None else order
    w, h = float(batch.whwh[b, 0]), float(batch.whwh[b, 1])
    rows = []
    ab = alpha_bar(int(d.t[b]))
    for n in range(d.noise.shape[1]):
        if n < len(real):
            x0, y0, x1, y1 = (float(v) for v in batch.boxes[b, real[n]])
            clean = [(x0 + x1) / 2 / w, (y0 + y1) / 2 / h, (x1 - x0) / w, (y1 - y0) / h]
        elif n == 0:
            clean = [0.5, 0.5, 1.0, 1.0]
        else:
            fill = [float(v) / 6 + 0.5 for v in d.fill[b, n]]
            clean = [fill[0], fill[1], max(fill[2], 1e-4), max(fill[3], 1e-4)]
        noisy = [
            math.sqrt(ab) * (2 * c - 1) * SCALE + math.sqrt(1 - ab) * float(e)
            for c, e in zip(clean, d.noise[b, n], strict=True)
        ]
        cx, cy, bw, bh = ((min(max(v, -SCALE), SCALE) / SCALE + 1) / 2 for v in noisy)
        rows.append([(cx - bw / 2) * w, (cy - bh / 2) * h, (cx + bw / 2) * w, (cy + bh / 2) * h])
    return torch.tensor(rows)


OBJECTS = [(10.0, 20.0, 60.0, 90.0, 2), (100.0, 0.0, 200.0, 50.0, 0), (5.0, 5.0, 9.0, 7.0, 1)]


@pytest.mark.parametrize("t", [[0, 999], [500, 17]])
def test_nodes_by_hand_with_one_noise_level_an_image(t: list[int]) -> None:
    batch = batch_of(OBJECTS, OBJECTS[:1])
    d = draws_at(t, 6, 3)
    nodes = make_noisy_nodes(batch, d, SCHEDULE, SCALE, None)
    assert nodes.t.tolist() == t and nodes.label_state is None
    for b in range(2):
        torch.testing.assert_close(nodes.boxes[b], expected_boxes(batch, d, b), rtol=1e-5, atol=1e-3)


def test_an_image_without_objects_gets_one_full_image_placeholder() -> None:
    batch = batch_of([], OBJECTS)
    d = draws_at([0, 0], 5, 3)
    nodes = make_noisy_nodes(batch, d, SCHEDULE, SCALE, None)
    for b in range(2):
        torch.testing.assert_close(nodes.boxes[b], expected_boxes(batch, d, b), rtol=1e-5, atol=1e-3)
    d.noise.zero_()
    first = make_noisy_nodes(batch, d, SCHEDULE, SCALE, None).boxes[0, 0]
    torch.testing.assert_close(first, torch.tensor([0.0, 0.0, 200.0, 100.0]), rtol=0, atol=0.1)


def test_of_more_objects_than_nodes_a_drawn_subset_is_kept() -> None:
    batch = batch_of(OBJECTS)
    seen = set()
    for seed in range(40):
        d = draws_at([0], 2, 3, seed)
        keep = sorted(d.order[0].argsort()[:2].tolist())
        nodes = make_noisy_nodes(batch, d, SCHEDULE, SCALE, None)
        torch.testing.assert_close(nodes.boxes[0], expected_boxes(batch, d, 0, keep), rtol=1e-5, atol=1e-3)
        seen.add(tuple(keep))
    assert seen == {(0, 1), (0, 2), (1, 2)}


def test_boxes_stay_inside_what_the_scale_can_say() -> None:
    d = draws_at([999] * 3, 50, 1)
    boxes = make_noisy_nodes(batch_of([], [], []), d, SCHEDULE, SCALE, None).boxes
    size = (boxes[..., 2:] - boxes[..., :2]) / torch.tensor([200.0, 100.0])
    centre = (boxes[..., 2:] + boxes[..., :2]) / 2 / torch.tensor([200.0, 100.0])
    assert (size >= -1e-6).all() and (size <= 1 + 1e-6).all() and (centre >= -1e-6).all() and (centre <= 1 + 1e-6).all()
    assert (size < 1e-6).any()  # the clamp does bite at the last noise level


@pytest.mark.parametrize("kernel", ["mask", "uniform"])
def test_labels_follow_their_nodes_through_the_forward_process(kernel: str) -> None:
    keep = torch.linspace(1, 0, T, dtype=torch.float64)
    process = LabelDiffusion(3, kernel, keep)
    batch = batch_of(OBJECTS, [])
    clean = make_noisy_nodes(batch, draws_at([0, 0], 5, 3), SCHEDULE, SCALE, process).label_state
    assert clean is not None and clean.shape == (2, 5, 4)
    assert clean.argmax(-1).tolist() == [[2, 0, 1, 3, 3], [3] * 5]  # keep probability 1; padding is unknown
    assert torch.equal(clean.sum(-1), torch.ones(2, 5)) and set(clean.unique().tolist()) == {0.0, 1.0}
    d = draws_at([600, 600], 5, 3)
    d.label = torch.tensor([[0.1, 0.9, 0.39, 0.5, 0.2]] * 2)  # the keep probability there is 399/999 = .3994
    noisy = make_noisy_nodes(batch, d, SCHEDULE, SCALE, process).label_state
    assert noisy is not None
    if kernel == "mask":
        assert noisy.argmax(-1)[0].tolist() == [2, 3, 1, 3, 3]
    else:  # [.3994, 1) is cut into 4 equal parts of .15015: .9 lies in the fourth, .5 in the first
        assert noisy.argmax(-1)[0].tolist() == [2, 3, 1, 0, 3]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**40), st.integers(0, 10**6), st.integers(1, 9), st.integers(1, 12), st.integers(1, 5))
def test_draws_depend_on_seed_and_iteration_only(seed: int, iteration: int, batch: int, nodes: int, most: int) -> None:
    first = draw(seed, iteration, batch, nodes, most, T)
    torch.rand(17)  # the global generator plays no part
    again, wider = draw(seed, iteration, batch, nodes, most, T), draw(seed, iteration, batch, nodes, most + 3, T)
    other, later = draw(seed + 1, iteration, batch, nodes, most, T), draw(seed, iteration + 1, batch, nodes, most, T)
    for name in ("t", "noise", "fill", "order", "label", "start"):
        assert torch.equal(getattr(first, name), getattr(again, name))
        if name != "order":  # the widest image of a batch must not change the noise
            assert torch.equal(getattr(first, name), getattr(wider, name))
    for changed in (other, later):
        assert not torch.equal(first.noise, changed.noise)
    assert first.t.shape == (batch,) and ((first.t >= 0) & (first.t < T)).all()
    assert first.noise.shape == first.fill.shape == first.start.shape == (batch, nodes, 4)
    assert first.order.shape == (batch, most) and first.label.shape == (batch, nodes)
    assert not torch.equal(first.noise, first.fill) and not torch.equal(first.noise, first.start)


def test_draws_have_the_distributions_they_name() -> None:
    d = draw(0, 0, 400, 50, 4, 10)
    for values in (d.noise, d.fill, d.start):
        assert abs(float(values.mean())) < 0.02 and abs(float(values.std()) - 1) < 0.02
    for values in (d.order, d.label):
        assert float(values.min()) >= 0 and float(values.max()) < 1 and abs(float(values.mean()) - 0.5) < 0.03
    assert d.t.unique().tolist() == list(range(10))
