"""Candidates to detections: the best pairs, the ensemble, class-wise suppression by loops."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from c2o_model.config import typed_config
from c2o_model.sampling.detections import Candidates, select, suppress
from c2o_model.settings import SamplerSettings


@pytest.fixture
def settings(make_config: Any) -> SamplerSettings:
    return typed_config(make_config()).sampler


def iou(a: list[float], b: list[float]) -> float:
    w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    inter = max(w, 0.0) * max(h, 0.0)
    return inter / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inter)


def suppress_by_loops(
    boxes: Tensor, scores: Tensor, labels: Tensor, whwh: list[float], thresh: float, keep: int
) -> list[tuple[Any, ...]]:
    """Greedy, class by class, on whole boxes; then clip, drop what is empty, best first."""
    left = sorted(zip(scores.tolist(), boxes.tolist(), labels.tolist(), strict=True), reverse=True)
    chosen: list[tuple[float, list[float], int]] = []
    for score, box, label in left:
        if all(other != label or iou(box, b) <= thresh for _, b, other in chosen):
            chosen.append((score, box, label))
    result = []
    for score, box, label in chosen:
        x0, y0, x1, y1 = (min(max(v, 0.0), size) for v, size in zip(box, whwh, strict=True))
        if x1 > x0 and y1 > y0:
            result.append((score, label, [x0, y0, x1, y1]))
    return result[:keep]


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("wild", [False, True])
def test_suppression_equals_the_loops(settings: SamplerSettings, seed: int, wild: bool) -> None:
    """Boxes reach out of the image; one wild box (a regressed exp) must not blur the others."""
    g = torch.Generator().manual_seed(seed)
    low = torch.rand(2, 60, 2, generator=g) * 110 - 30
    boxes = torch.cat([low, low + 2 + torch.rand(2, 60, 2, generator=g) * 50], dim=-1)
    scores, labels = torch.rand(2, 60, generator=g), torch.randint(7, (2, 60), generator=g)
    if wild:
        boxes[:, 3] = torch.tensor([-2e8, -3e8, 9e8, 8e8])
        boxes[:, 4, 2:] = 5e6
    whwh = torch.tensor([[80.0, 70.0, 80.0, 70.0], [64.0, 90.0, 64.0, 90.0]])
    found = suppress(Candidates(boxes, scores, labels), whwh, settings, 25)
    for b in range(2):
        expected = suppress_by_loops(boxes[b], scores[b], labels[b], whwh[b].tolist(), 0.5, 25)
        assert found[b].scores.tolist() == [e[0] for e in expected]
        assert found[b].labels.tolist() == [e[1] for e in expected]
        torch.testing.assert_close(found[b].boxes, torch.tensor([e[2] for e in expected]))


def test_classes_do_not_suppress_each_other_left_of_the_image(settings: SamplerSettings) -> None:
    """Offsets that keep classes apart must survive negative coordinates."""
    boxes = torch.tensor([[[0.0, 0.0, 60.0, 60.0], [-61.0, -61.0, 20.0, 20.0]]])
    found = suppress(
        Candidates(boxes, torch.tensor([[0.9, 0.8]]), torch.tensor([[0, 1]])), torch.full((1, 4), 64.0), settings, 9
    )
    assert found[0].labels.tolist() == [0, 1]


def test_empty_boxes_go_and_order_is_by_score_without_nms(settings: SamplerSettings) -> None:
    boxes = torch.tensor([[[5.0, 5, 9, 9], [70, 5, 90, 9], [1, 1, 1, 8], [5, 5, 9, 9], [-9, -9, 3, 2]]])
    candidates = Candidates(boxes, torch.tensor([[0.2, 0.9, 0.8, 0.7, 0.2]]), torch.zeros(1, 5).long())
    found = suppress(candidates, torch.full((1, 4), 64.0), replace(settings, use_nms=False), 100)
    assert found[0].boxes.tolist() == [[5, 5, 9, 9], [5, 5, 9, 9], [0, 0, 3, 2]]
    torch.testing.assert_close(found[0].scores, torch.tensor([0.7, 0.2, 0.2]))
    nothing = suppress(candidates, torch.full((1, 4), 64.0), settings, 0)
    assert nothing[0].boxes.shape == (0, 4)


def test_the_best_pairs_of_node_and_class() -> None:
    scores = torch.tensor([[[0.1, 0.9], [0.8, 0.85], [0.3, 0.2]]])
    boxes = torch.arange(12.0).view(1, 3, 4)
    best = select(scores, boxes, 3)
    assert best.scores[0].tolist() == pytest.approx([0.9, 0.85, 0.8]) and best.labels[0].tolist() == [1, 1, 0]
    assert torch.equal(best.boxes[0], boxes[0, [0, 1, 1]])
    assert select(scores, boxes, 99).scores.shape == (1, 6)


def test_joining_steps_and_folding_restarts() -> None:
    def part(value: float) -> Candidates:
        return Candidates(torch.full((4, 2, 4), value), torch.full((4, 2), value), torch.full((4, 2), int(value)))

    both = Candidates.join([part(1), part(2)])
    assert both.scores.tolist() == [[1, 1, 2, 2]] * 4 and both.boxes.shape == (4, 4, 4)
    ordered = Candidates(torch.arange(16.0).view(4, 1, 4), torch.arange(4.0).view(4, 1), torch.arange(4).view(4, 1))
    assert ordered.fold(2).scores.tolist() == [[0, 1], [2, 3]]
    assert ordered.fold(2).boxes.flatten().tolist() == list(range(16))
