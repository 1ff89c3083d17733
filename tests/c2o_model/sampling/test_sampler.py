"""The batched sampler against an image-by-image loop, in any company, and its variants."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.ops import box_iou

from c2o_model.modeling.targets import TrainingBatch
from c2o_model.sampling import sampler as module
from c2o_model.sampling.detections import Detections
from c2o_model.sampling.noise import START, step_noise
from c2o_model.sampling.sampler import run_teacher, sample
from c2o_model.settings import SamplerSettings

HYBRID = {"LABEL_STATE": True, "LABEL_D3PM": True, "QUALITY_HEAD": True, "QUALITY_SCORE_REWEIGHT": True}
KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "hybrid": HYBRID,
    "uniform": {**HYBRID, "LABEL_D3PM_KERNEL": "uniform"},
    "hard": {**HYBRID, "LABEL_D3PM_USE_DISTRIBUTION": False},
}
IDS = [7, 17, 27, 37]


def build(make_detector: Any, kind: str) -> Any:
    detector = make_detector(**KINDS[kind])
    if detector.head.label_embedding is not None:
        nn.init.normal_(detector.head.label_embedding.projection.weight)
    return detector


def settings_of(detector: Any, **changes: Any) -> SamplerSettings:
    return replace(detector.settings.sampler, **changes)


def close(a: Detections, b: Detections, exact: bool = False, pixels: float = 0.0) -> None:
    for part in ("labels", "scores", "boxes"):
        x, y = getattr(a, part), getattr(b, part)
        if exact:
            assert torch.equal(x, y), part
        else:
            torch.testing.assert_close(x, y, rtol=1e-6, atol=1e-6 if part == "scores" else pixels)


class Plain:
    """One image and one seed at a time, written down from algorithm 2 and the D3PM posterior."""

    def __init__(self, detector: Any, settings: SamplerSettings) -> None:
        self.d, self.s = detector, settings
        steps = 1000
        f = [math.cos((i / steps + 0.008) / 1.008 * math.pi / 2) ** 2 for i in range(steps + 1)]
        self.ab = list(
            itertools.accumulate((1 - min(1 - f[i + 1] / f[i], 0.999) for i in range(steps)), lambda a, b: a * b)
        )

    def alpha(self, t: int) -> float:
        return 1.0 if t < 0 else self.ab[t]

    def run(self, features: list[Tensor], whwh: Tensor, image: int, seed: int, restarts: int = 1) -> Detections:
        boxes, scores, labels = [], [], []
        k, n, classes = self.s.sample_step, 8, 3
        grid = [math.floor(-1 + 1000 * i / k + 1e-9) for i in range(k, -1, -1)]
        for restart in range(restarts):
            key = [(seed, image, restart)]
            x = step_noise(key, START, n, torch.device("cpu")).ddim[0]
            state = torch.zeros(n, classes + 1)
            state[:, classes] = 1
            for index, (t, s) in enumerate(zip(grid[:-1], grid[1:], strict=True)):
                unit = (x.clamp(-2, 2) / 2 + 1) / 2
                low = (unit[:, :2] - unit[:, 2:] / 2) * whwh[:2]
                high = (unit[:, :2] + unit[:, 2:] / 2) * whwh[:2]
                given = state[None] if self.d.label_process is not None else None
                out = self.d.head(features, torch.cat([low, high], 1)[None], torch.tensor([t]), whwh[None], given)
                logits, box = out.logits[-1, 0], out.boxes[-1, 0]
                p = logits.sigmoid()
                if self.d.settings.quality.quality_score_reweight:
                    p = p * out.quality[0].sigmoid()[:, None]
                keep_step = not (self.s.sampler_compat == "diffusiondet" and s < 0 and k > 1)
                if keep_step if self.s.use_ensemble else s < 0:
                    best = p.flatten().argsort(descending=True, stable=True)[:n]
                    boxes.append(box[best // classes])
                    scores.append(p.flatten()[best])
                    labels.append(best % classes)
                if s < 0:
                    break
                noise = step_noise(key, index, n, torch.device("cpu"))
                centre, size = (box[:, :2] + box[:, 2:]) / 2 / whwh[:2], (box[:, 2:] - box[:, :2]) / whwh[:2]
                x0 = ((torch.cat([centre, size], 1) * 2 - 1) * 2).clamp(-2, 2)
                at, as_ = self.alpha(t), self.alpha(s)
                eps = (x - math.sqrt(at) * x0) / math.sqrt(1 - at)
                sigma = self.s.sample_eta * math.sqrt((1 - at / as_) * (1 - as_) / (1 - at))
                x = math.sqrt(as_) * x0 + math.sqrt(max(1 - as_ - sigma**2, 0)) * eps + sigma * noise.ddim[0]
                if self.d.label_process is not None:
                    state = self.posterior(state, logits, t, s)
                    if not self.d.settings.label.label_d3pm_use_distribution:
                        cdf = state.double().cumsum(1)
                        hard = (noise.label[0].double()[:, None] * cdf[:, -1:] >= cdf[:, :-1]).sum(1)
                        state = torch.eye(classes + 1)[hard]
                if self.s.box_renewal:
                    stale = logits.sigmoid().amax(1) <= self.s.box_renewal_thresh
                    x[stale] = noise.renewal[0, stale]
                    state[stale] = torch.eye(classes + 1)[classes]
        box, score, label = torch.cat(boxes), torch.cat(scores), torch.cat(labels)
        order = self.nms(box, score, label)
        box = torch.stack([box[:, 0].clamp(0, whwh[0]), box[:, 1].clamp(0, whwh[1]),
                           box[:, 2].clamp(0, whwh[0]), box[:, 3].clamp(0, whwh[1])], 1)  # fmt: skip
        order = torch.tensor(
            [i for i in order.tolist() if box[i, 2] > box[i, 0] and box[i, 3] > box[i, 1]], dtype=torch.long
        )
        return Detections(box[order], score[order], label[order])

    def nms(self, box: Tensor, score: Tensor, label: Tensor) -> Tensor:
        """Greedy, class by class, best first."""
        chosen: list[int] = []
        overlap = box_iou(box.double(), box.double())
        for i in score.argsort(descending=True, stable=True).tolist():
            if not any(label[j] == label[i] and overlap[i, j] > self.s.nms_thresh for j in chosen):
                chosen.append(i)
        return torch.tensor(chosen)

    def posterior(self, state: Tensor, logits: Tensor, t: int, s: int) -> Tensor:
        """sum over c_t of state(c_t) sum over c_0 of p(c_0) q(c_t|c_s) q(c_s|c_0) / q(c_t|c_0), by matrices."""
        process = self.d.label_process
        joint, to_s = process.cumulative(t), process.cumulative(s)
        keep = math.sqrt(self.alpha(t) / self.alpha(s))
        rest = (
            torch.full((4, 4), 0.25, dtype=torch.float64)
            if process.kernel == "uniform"
            else torch.eye(4, dtype=torch.float64)[[3] * 4]
        )
        jump = keep * torch.eye(4, dtype=torch.float64) + (1 - keep) * rest
        p0 = torch.cat([logits, torch.zeros(len(logits), 1)], 1).double().softmax(1)
        result = torch.zeros(len(logits), 4, dtype=torch.float64)
        for ct in range(4):
            lead = joint[:, ct] > 0
            if process.kernel == "mask" and ct < 3:  # only c_0 = c_t leads there: the label stays
                result[:, ct] += state[:, ct]
                continue
            for c0 in range(4):
                if lead[c0]:
                    q = jump[:, ct] * to_s[c0] / joint[c0, ct]
                    result += (state[:, ct] * p0[:, c0]).double()[:, None] * q
        return result.float()


@pytest.mark.stack_feature("steps", "labels_mask", "labels_uniform", "labels_hard", stack="detectron2")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("steps", [1, 2, 5, 20])
def test_the_batched_sampler_is_the_loop(make_detector: Any, tiny_batch: TrainingBatch, kind: str, steps: int) -> None:
    detector = build(make_detector, kind)
    settings = settings_of(detector, sample_step=steps, box_renewal_thresh=0.6)
    with torch.no_grad():
        features = detector.features(tiny_batch.images)
        found = sample(detector, features, tiny_batch.whwh, IDS, [0, 3], settings, 9999)
        plain = Plain(detector, settings)
        for i, s in ((0, 0), (3, 1)):
            expected = plain.run([f[i : i + 1] for f in features], tiny_batch.whwh[i], IDS[i], (0, 3)[s])
            assert found[i][s].labels.tolist() == expected.labels.tolist()
            torch.testing.assert_close(found[i][s].scores, expected.scores, rtol=1e-3, atol=1e-4)
            torch.testing.assert_close(found[i][s].boxes, expected.boxes, rtol=1e-3, atol=0.1)


@pytest.mark.stack_feature("ensemble", stack="detectron2")
@pytest.mark.parametrize("changes", [{"use_ensemble": False}, {"box_renewal": False}, {"sample_eta": 0.0},
                                     {"sample_eta": 0.3},
                                     {"sampler_compat": "diffusiondet"}, {"nms_thresh": 0.2}])  # fmt: skip
def test_every_variant_is_the_loop_too(make_detector: Any, tiny_batch: TrainingBatch, changes: dict[str, Any]) -> None:
    detector = build(make_detector, "hybrid")
    settings = settings_of(detector, sample_step=3, **changes)
    with torch.no_grad():
        features = detector.features(tiny_batch.images)
        found = sample(detector, features, tiny_batch.whwh, IDS, [4], settings)
        for i in range(4):
            expected = Plain(detector, settings).run([f[i : i + 1] for f in features], tiny_batch.whwh[i], IDS[i], 4)
            assert found[i][0].labels.tolist() == expected.labels.tolist()
            torch.testing.assert_close(found[i][0].scores, expected.scores, rtol=1e-3, atol=1e-4)
            torch.testing.assert_close(found[i][0].boxes, expected.boxes, rtol=1e-3, atol=0.1)


@pytest.mark.parametrize("kind", ["plain", "hybrid"])
@pytest.mark.parametrize("steps", [1, 5])
def test_detections_do_not_depend_on_the_company(make_detector: Any, tiny_split: Any, kind: str, steps: int) -> None:
    """Batch 8 or 1, forwards or backwards, one seed or five: the same detections for (image, eval seed).

    The same up to the rounding of matrix products, whose order of summation follows their shape: scores to 1e-6, boxes
    to 4e-6 of the image size, which each further step of these random weights lets grow.
    """
    from c2o_model.data.loader import image_batches

    detector = build(make_detector, kind)
    settings = settings_of(detector, sample_step=steps)
    batch = next(image_batches(tiny_split, 8))
    ids, whwh, seeds = batch.image_ids.tolist(), torch.full((8, 4), 64.0), [0, 1, 2, 3, 4]
    with torch.no_grad():
        together = sample(detector, detector.features(batch.images), whwh, ids, seeds, settings)
        backwards = sample(detector, detector.features(batch.images.flip(0)), whwh, ids[::-1], seeds[::-1], settings)
        for i in (0, 5, 7):
            own = detector.features(batch.images[i : i + 1])
            for s in (0, 3):
                alone = sample(detector, own, whwh[:1], ids[i : i + 1], [seeds[s]], settings)[0][0]
                close(alone, together[i][s], pixels=256e-6 * steps**2)
                close(backwards[7 - i][4 - s], together[i][s], pixels=256e-6 * steps**2)
    assert len({tuple(d.scores.tolist()) for d in together[0]}) == 5  # seeds do differ


def test_the_same_call_twice_has_the_same_bits(make_detector: Any, tiny_batch: TrainingBatch) -> None:
    detector = build(make_detector, "hard")
    settings = settings_of(detector, sample_step=4, sample_restarts=2)
    with torch.no_grad():
        features = detector.features(tiny_batch.images)
        first = sample(detector, features, tiny_batch.whwh, IDS, [0, 1], settings)
        torch.rand(3)
        again = sample(detector, features, tiny_batch.whwh, IDS, [0, 1], settings)
    for a, b in zip(itertools.chain(*first), itertools.chain(*again), strict=True):
        close(a, b, exact=True)


@pytest.mark.stack_feature("restarts", stack="detectron2")
def test_restarts_are_the_union_of_single_runs(make_detector: Any, tiny_batch: TrainingBatch) -> None:
    detector = build(make_detector, "hybrid")
    settings = settings_of(detector, sample_step=2, sample_restarts=3)
    with torch.no_grad():
        features = detector.features(tiny_batch.images)
        found = sample(detector, features, tiny_batch.whwh, IDS, [9, 2], settings)
        for i, s in ((0, 0), (2, 1)):
            expected = Plain(detector, settings).run(
                [f[i : i + 1] for f in features], tiny_batch.whwh[i], IDS[i], (9, 2)[s], 3
            )
            assert found[i][s].labels.tolist() == expected.labels.tolist()
            torch.testing.assert_close(found[i][s].scores, expected.scores, rtol=1e-3, atol=1e-4)
            assert len(expected.scores) > 8  # more than one run can give


def test_compat_drops_the_last_step_of_the_ensemble(
    make_detector: Any, tiny_batch: TrainingBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With k steps plain sampling keeps k candidate sets, DiffusionDet's rule k - 1; one step is kept by both."""
    detector, seen = build(make_detector, "plain"), []
    real = module.select
    monkeypatch.setattr(module, "select", lambda *a: seen.append(1) or real(*a))
    features = detector.features(tiny_batch.images)
    for compat, steps, kept in (("c2o", 4, 4), ("diffusiondet", 4, 3), ("c2o", 1, 1), ("diffusiondet", 1, 1)):
        seen.clear()
        sample(
            detector,
            features,
            tiny_batch.whwh,
            IDS,
            [0],
            settings_of(detector, sample_step=steps, sampler_compat=compat),
        )
        assert len(seen) == kept


@pytest.mark.parametrize("kind", ["hybrid", "uniform", "hard"])
def test_label_states_start_unknown_stay_distributions_and_reset_on_renewal(
    make_detector: Any, tiny_batch: TrainingBatch, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    detector = build(make_detector, kind)
    seen: list[Tensor] = []
    real = detector.head.forward
    monkeypatch.setattr(detector.head, "forward", lambda *a: seen.append(a[4]) or real(*a))
    features = detector.features(tiny_batch.images)
    unknown = torch.tensor([0.0, 0.0, 0.0, 1.0])
    sample(detector, features, tiny_batch.whwh, IDS, [0], settings_of(detector, sample_step=6, box_renewal_thresh=0.6))
    assert len(seen) == 6 and torch.equal(seen[0], unknown.expand(4, 8, 4))
    for state in seen:
        assert (state >= 0).all()
        torch.testing.assert_close(state.sum(-1), torch.ones(4, 8), rtol=0, atol=1e-5)
    assert any(not torch.equal(state, seen[0]) for state in seen)
    if kind == "hard":
        assert all(set(state.unique().tolist()) <= {0.0, 1.0} for state in seen)
    seen.clear()
    sample(detector, features, tiny_batch.whwh, IDS, [0], settings_of(detector, sample_step=6, box_renewal_thresh=1.0))
    assert all(torch.equal(state, unknown.expand(4, 8, 4)) for state in seen)  # everything renews at every step


def test_the_number_of_nodes_may_differ_at_test_time(make_detector: Any, tiny_batch: TrainingBatch) -> None:
    detector = build(make_detector, "plain")
    features = detector.features(tiny_batch.images)
    many = sample(
        detector, features, tiny_batch.whwh, IDS, [0], settings_of(detector, test_num_proposals=40, use_nms=False), 30
    )
    assert all(len(image[0].scores) == 30 for image in many)


@pytest.mark.parametrize("kind", KINDS)
def test_the_teacher_is_deterministic_aligned_and_renews_nothing(
    make_detector: Any, tiny_batch: TrainingBatch, kind: str
) -> None:
    detector = build(make_detector, kind)
    features = [f.detach() for f in detector.features(tiny_batch.images)]
    start = torch.randn(4, 8, 4)
    keys = [(0, i, 0) for i in range(4)]
    first, again = (run_teacher(detector, features, tiny_batch.whwh, start, 5, 0.0, keys) for _ in range(2))
    assert torch.equal(first.boxes, again.boxes) and torch.equal(first.logits, again.logits)
    assert not first.boxes.requires_grad
    order = torch.randperm(8)
    if kind != "hard":  # node i of the result started at node i; hard labels are drawn by place
        moved = run_teacher(detector, features, tiny_batch.whwh, start[:, order], 5, 0.0, keys)
        torch.testing.assert_close(moved.boxes, first.boxes[:, order], rtol=1e-4, atol=1e-2)
        other = run_teacher(detector, features, tiny_batch.whwh, start, 5, 0.0, [(1, i, 5) for i in range(4)])
        assert torch.equal(other.boxes, first.boxes)  # eta 0 reads no noise
    noisy = run_teacher(detector, features, tiny_batch.whwh, start, 5, 1.0, keys)
    assert not torch.allclose(noisy.boxes, first.boxes)


def test_one_teacher_step_is_one_forward(make_detector: Any, tiny_batch: TrainingBatch) -> None:
    detector = build(make_detector, "plain")
    features = [f.detach() for f in detector.features(tiny_batch.images)]
    start = torch.randn(4, 8, 4)
    unit = (start.clamp(-2, 2) / 2 + 1) / 2 * 64
    boxes = torch.cat([unit[..., :2] - unit[..., 2:] / 2, unit[..., :2] + unit[..., 2:] / 2], -1)
    out = detector.head(features, boxes, torch.full((4,), 999), tiny_batch.whwh)
    found = run_teacher(detector, features, tiny_batch.whwh, start, 1, 0.0, [(0, 0, 0)] * 4)
    torch.testing.assert_close(found.boxes, out.boxes[-1], rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(found.logits, out.logits[-1], rtol=1e-5, atol=1e-5)
