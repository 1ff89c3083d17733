"""A sampling that is watched is the sampling; its steps, frames and attention follow from the sampler's own parts."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from c2o_model.data.inference import inference_batches
from c2o_model.diffusion.schedules import ddim_times
from c2o_model.gallery.build import watch_batch
from c2o_model.gallery.observe import AttentionCall, Watched
from c2o_model.gallery.relations import attention_weights, carriers, scene
from c2o_model.graph.attention import NodeAttention
from c2o_model.graph.bias import GeoBias
from c2o_model.sampling.detections import Detections
from c2o_model.sampling.sampler import sample

SEEDS = [3, 8]
WAYS: dict[str, dict[str, Any]] = {
    "ensemble": {},
    "alone": {"USE_ENSEMBLE": False, "SELF_ATTN_IMPL": "sdpa"},
    "restarts": {"SAMPLE_RESTARTS": 2, "TEST_NUM_PROPOSALS": 6},
    "as DiffusionDet": {"SAMPLER_COMPAT": "diffusiondet", "SAMPLE_ETA": 1.0},
    "no NMS": {"USE_NMS": False, "QUALITY_HEAD": True, "QUALITY_SCORE_REWEIGHT": True},
    "labels": {"LABEL_STATE": True, "LABEL_D3PM": True, "GEO_BIAS_TYPE": "distance"},
}


def same(a: Detections, b: Detections) -> None:
    assert torch.equal(a.boxes, b.boxes) and torch.equal(a.scores, b.scores) and torch.equal(a.labels, b.labels)


def batch_of(split: Any) -> Any:
    return next(inference_batches(split, 3))


@pytest.mark.parametrize("way", WAYS)
def test_watched_or_not_the_detections_are_the_same_and_the_last_frame(
    make_detector: Any, tiny_split: Any, way: str
) -> None:
    detector, batch = make_detector(SAMPLE_STEP=4, **WAYS[way]), batch_of(tiny_split)
    settings = detector.settings.sampler
    with torch.inference_mode():
        features = detector.features(batch.images)
        expected = sample(detector, features, batch.whwh, batch.image_ids, SEEDS, settings, 20)
    watched = watch_batch(detector, batch, SEEDS, 20)
    assert "scores" not in vars(detector) and not detector.head._forward_pre_hooks, "nothing of the watching is left"
    assert [step.time for step in watched.steps] == [t for t, _ in ddim_times(4, detector.schedule.timesteps)]
    for image in range(3):
        for seed in range(2):
            same(watched.detections[image][seed], expected[image][seed])
            frames = watched.frames(image, seed)
            assert len(frames) == 4
            same(frames[-1], expected[image][seed])


def test_a_frame_without_ensemble_is_the_prediction_of_its_step_alone(make_detector: Any, tiny_split: Any) -> None:
    """By hand: best (node, class) pairs of the step, clipped, in order; no suppression."""
    detector = make_detector(SAMPLE_STEP=3, USE_ENSEMBLE=False, USE_NMS=False)
    watched = watch_batch(detector, batch_of(tiny_split), SEEDS, 5)
    row = watched.sets(1, 1)
    assert (row.start, row.stop) == (3, 4)
    for step, frame in zip(watched.steps, watched.frames(1, 1), strict=True):
        pairs = [(float(step.scores[3, n, k]), n, k) for n in range(8) for k in range(3)]
        best = sorted(pairs, reverse=True)[:8]
        boxes = [step.boxes[3, n].clamp(0, 64) for _, n, _ in best]
        kept = [(s, k, box) for (s, _, k), box in zip(best, boxes, strict=True) if (box[2:] > box[:2]).all()][:5]
        assert frame.scores.tolist() == [s for s, _, _ in kept] and frame.labels.tolist() == [k for _, k, _ in kept]
        assert torch.equal(frame.boxes, torch.stack([box for _, _, box in kept]))


def test_the_first_step_starts_from_noise_and_the_next_from_elsewhere(make_detector: Any, tiny_split: Any) -> None:
    watched = watch_batch(make_detector(SAMPLE_STEP=3), batch_of(tiny_split), SEEDS, 20)
    first, second, _ = watched.steps
    assert first.noisy.shape == (6, 8, 4) and not torch.equal(first.noisy, second.noisy)
    assert torch.equal(
        first.noisy[0], watch_batch(make_detector(SAMPLE_STEP=1), batch_of(tiny_split), SEEDS, 20).steps[0].noisy[0]
    )


@pytest.mark.parametrize("bias", [False, True])
def test_attention_weights_are_those_of_multihead_attention(bias: bool) -> None:
    """nn.MultiheadAttention gives its weights, mean over heads; q and k see the positions, v does not."""
    torch.manual_seed(4)
    layer, plain = NodeAttention(16, 4, impl="sdpa").eval(), nn.MultiheadAttention(16, 4, batch_first=True).eval()
    plain.load_state_dict(layer.state_dict())
    x, pos = torch.randn(2, 7, 16), torch.randn(2, 7, 16)
    added = torch.randn(2, 4, 7, 7) if bias else None
    mask = None if added is None else added.flatten(0, 1)
    with torch.no_grad():
        _, expected = plain(x + pos, x + pos, x, need_weights=True, average_attn_weights=True, attn_mask=mask)
        found = attention_weights(layer, AttentionCall(x, pos, pos, added))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_the_weights_are_what_the_layer_mixes_by(make_detector: Any, tiny_split: Any) -> None:
    """Weights of each head times values, put through the output layer, are the layer's output: here for one head."""
    detector = make_detector(SAMPLE_STEP=1, NHEADS=1, GEO_BIAS_TYPE="iou")
    bias = detector.head.geo_bias
    assert isinstance(bias, GeoBias)
    with torch.no_grad():
        bias.scale.fill_(1.5)
    watched = watch_batch(detector, batch_of(tiny_split), SEEDS, 20)
    call, layer = watched.steps[-1].attention, detector.head.head_series[-1].self_attn
    assert call is not None
    with torch.inference_mode():
        weights = attention_weights(layer, call)
        value = call.x @ layer.in_proj_weight[32:].T + layer.in_proj_bias[32:]
        expected = layer(call.x, q_pos=call.q_pos, k_pos=call.k_pos, bias=call.bias)
        torch.testing.assert_close(layer.out_proj(weights @ value), expected, rtol=1e-4, atol=1e-5)


def test_the_edges_are_the_strongest_between_nodes_with_detections(make_detector: Any, tiny_split: Any) -> None:
    detector = make_detector(SAMPLE_STEP=2, NMS_THRESH=0.9)
    watched = watch_batch(detector, batch_of(tiny_split), SEEDS, 20)
    layer = detector.head.head_series[-1].self_attn
    found = scene(watched, layer, 2, 1)
    assert found is not None and len(found.boxes) > 2
    call = watched.steps[-1].attention
    assert call is not None
    weights = attention_weights(layer, call)[5]
    nodes = [_node(watched, 5, box, score) for box, score in zip(found.boxes, found.scores, strict=True)]
    assert len(set(nodes)) == len(nodes)
    n = len(nodes)
    expected = sorted((float(weights[a, b]) for a in nodes for b in nodes if a != b), reverse=True)
    assert [weight for _, _, weight in found.edges] == pytest.approx(expected[: min(3 * n, n * (n - 1))])
    for i, j, weight in found.edges:
        assert i != j and weight == pytest.approx(float(weights[nodes[i], nodes[j]]))


def _node(watched: Watched, row: int, box: torch.Tensor, score: torch.Tensor) -> int:
    last = watched.steps[-1]
    fits = [
        n
        for n in range(8)
        if torch.equal(last.boxes[row, n].clamp(0, 64), box) and (last.scores[row, n] == score).any()
    ]
    assert len(fits) == 1
    return fits[0]


def test_a_node_is_named_once_and_detections_of_earlier_steps_have_none() -> None:
    boxes = torch.tensor([[-1.0, 0, 5, 5], [1, 1, 9, 9]])
    scores = torch.tensor([[0.9, 0.4], [0.2, 0.7]])
    found = Detections(
        torch.tensor([[0.0, 0, 5, 5], [1, 1, 9, 9], [2, 2, 3, 3], [0, 0, 5, 5]]),
        torch.tensor([0.9, 0.7, 0.6, 0.4]),
        torch.tensor([0, 1, 0, 1]),
    )
    nodes, detections = carriers(found, boxes, scores, torch.tensor([8.5, 9, 8.5, 9]))
    assert nodes.tolist() == [0] and detections.tolist() == [0], "the second is clipped to 8.5 px"
    nodes, detections = carriers(found, boxes, scores, torch.tensor([9.0, 9, 9, 9]))
    assert nodes.tolist() == [0, 1] and detections.tolist() == [0, 1]


def test_nodes_that_do_not_look_at_each_other_have_no_scene(make_detector: Any, tiny_split: Any) -> None:
    detector = make_detector(SAMPLE_STEP=1, DISABLE_SELF_ATTN=True)
    watched = watch_batch(detector, batch_of(tiny_split), SEEDS, 20)
    assert scene(watched, detector.head.head_series[-1].self_attn, 0, 0) is None
