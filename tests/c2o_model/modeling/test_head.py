"""The dynamic head against the names of released files, Detectron2's box transform and a scalar re-computation."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from detectron2.modeling.box_regression import Box2BoxTransform
from numpy.typing import NDArray
from torch import Tensor, nn

from c2o_model.config import config_from_dict, typed_config
from c2o_model.modeling.head import CHUNK, DynamicConv, DynamicHead, SinusoidalTime, apply_deltas
from c2o_model.modeling.roi import NodePooler
from c2o_model.modeling.targets import TrainingBatch
from c2o_model.training.draws import draw

D = "MODEL.DiffusionDet."
Array = NDArray[np.float64]


def released_shapes(classes: int = 80) -> dict[str, tuple[int, ...]]:
    """Of the head of a released ResNet-50 model, from model.md and the paper: 256 wide, 6 stages, 7 x 7 RoIs."""
    shapes: dict[str, tuple[int, ...]] = {
        "time_mlp.1.weight": (1024, 256), "time_mlp.1.bias": (1024,),
        "time_mlp.3.weight": (1024, 1024), "time_mlp.3.bias": (1024,),
    }  # fmt: skip
    for i in range(6):
        stage = {
            "self_attn.in_proj_weight": (768, 256), "self_attn.in_proj_bias": (768,),
            "self_attn.out_proj.weight": (256, 256), "self_attn.out_proj.bias": (256,),
            "inst_interact.dynamic_layer.weight": (32768, 256), "inst_interact.dynamic_layer.bias": (32768,),
            "inst_interact.norm1.weight": (64,), "inst_interact.norm1.bias": (64,),
            "inst_interact.norm2.weight": (256,), "inst_interact.norm2.bias": (256,),
            "inst_interact.out_layer.weight": (256, 12544), "inst_interact.out_layer.bias": (256,),
            "inst_interact.norm3.weight": (256,), "inst_interact.norm3.bias": (256,),
            "linear1.weight": (2048, 256), "linear1.bias": (2048,),
            "linear2.weight": (256, 2048), "linear2.bias": (256,),
            "norm1.weight": (256,), "norm1.bias": (256,), "norm2.weight": (256,), "norm2.bias": (256,),
            "norm3.weight": (256,), "norm3.bias": (256,),
            "block_time_mlp.1.weight": (512, 1024), "block_time_mlp.1.bias": (512,),
            "cls_module.0.weight": (256, 256), "cls_module.1.weight": (256,), "cls_module.1.bias": (256,),
            "reg_module.0.weight": (256, 256), "reg_module.1.weight": (256,), "reg_module.1.bias": (256,),
            "reg_module.3.weight": (256, 256), "reg_module.4.weight": (256,), "reg_module.4.bias": (256,),
            "reg_module.6.weight": (256, 256), "reg_module.7.weight": (256,), "reg_module.7.bias": (256,),
            "class_logits.weight": (classes, 256), "class_logits.bias": (classes,),
            "bboxes_delta.weight": (4, 256), "bboxes_delta.bias": (4,),
        }  # fmt: skip
        shapes.update({f"head_series.{i}.{name}": shape for name, shape in stage.items()})
    return shapes


def plain_head(**keys: Any) -> DynamicHead:
    settings = typed_config(config_from_dict({D + k: v for k, v in keys.items()})).head
    return DynamicHead(settings, NodePooler((4, 8, 16, 32), 7, "torchvision", 224.0, 4), 1000)


def test_names_and_shapes_are_those_of_a_released_checkpoint() -> None:
    with torch.device("meta"):
        found = {k: tuple(v.shape) for k, v in plain_head().state_dict().items()}
    assert found == released_shapes()


@pytest.mark.parametrize("classes", [3, 4, 63, 64, 255, 256])
def test_only_the_class_bias_gets_the_focal_prior(classes: int) -> None:
    """Widths 64 and 256 and 4 box sides also occur as last dimensions: DiffusionDet's rule by shape hits those."""
    torch.manual_seed(0)
    head = plain_head(NUM_CLASSES=classes, NUM_HEADS=2, DIM_FEEDFORWARD=64, PRIOR_PROB=0.02, HIDDEN_DIM=64)
    prior = -math.log(0.98 / 0.02)
    for name, parameter in head.named_parameters():
        if name.endswith("class_logits.bias"):
            assert torch.equal(parameter, torch.full((classes,), prior))
        elif parameter.dim() > 1:
            fan_out, fan_in = parameter.shape
            bound = math.sqrt(6 / (fan_in + fan_out))  # Glorot and Bengio 2010, eq. 16
            largest = float(parameter.detach().abs().max())
            assert 0.7 * bound < largest <= bound * (1 + 1e-6), name
        else:
            assert (parameter != prior).all(), name
        if "norm" in name or ".1." in name.partition("_module")[2]:
            assert torch.equal(parameter, torch.full_like(parameter, float(name.endswith("weight")))), name


def test_boxes_move_as_in_detectron2() -> None:
    g = torch.Generator().manual_seed(0)
    low = torch.rand(500, 2, generator=g) * 300 - 100
    boxes = torch.cat([low, low + torch.rand(500, 2, generator=g) * 200 + 0.1], dim=-1)
    deltas = torch.randn(500, 4, generator=g) * 3
    deltas[::7, 2:] += 20  # beyond the clamp
    expected = Box2BoxTransform((2.0, 2.0, 1.0, 1.0), math.log(100_000 / 16)).apply_deltas(deltas, boxes)
    torch.testing.assert_close(apply_deltas(deltas, boxes), expected, rtol=1e-5, atol=1e-3)
    assert torch.equal(
        apply_deltas(torch.zeros(1, 4), torch.tensor([[2.0, 4.0, 8.0, 6.0]])), torch.tensor([[2.0, 4, 8, 6]])
    )
    # by hand: width 6 grows by e^ln 2 to 12 around centre 5 + 6 * (1/2) = 8; height stays
    moved = apply_deltas(torch.tensor([[1.0, 0.0, math.log(2), 0.0]]), torch.tensor([[2.0, 4.0, 8.0, 6.0]]))
    torch.testing.assert_close(moved, torch.tensor([[2.0, 4.0, 14.0, 6.0]]))


def test_time_embedding_by_hand() -> None:
    found = SinusoidalTime(8)(torch.tensor([0, 1, 999]))
    for row, t in zip(found.tolist(), (0, 1, 999), strict=True):
        angles = [t * 10000 ** (-i / 3) for i in range(4)]
        expected = [math.sin(a) for a in angles] + [math.cos(a) for a in angles]
        assert row == pytest.approx(expected, abs=1e-4)


class Scalars:
    """A stage of the head from the paper's text and formulas, in float64, node by node, for one node set."""

    def __init__(self, module: nn.Module) -> None:
        self.w: dict[str, Array] = {k: v.detach().double().numpy() for k, v in module.state_dict().items()}

    def linear(self, name: str, x: Array) -> Array:
        y = self.w[f"{name}.weight"] @ x
        return y + self.w[f"{name}.bias"] if f"{name}.bias" in self.w else y

    def norm(self, name: str, x: Array) -> Array:
        spread = (x - x.mean()) / math.sqrt(x.var() + 1e-5)
        return spread * self.w[f"{name}.weight"] + self.w[f"{name}.bias"]

    def attention(self, nodes: list[Array], heads: int) -> list[Array]:
        dim = len(nodes[0])
        d = dim // heads
        projected = [self.w["self_attn.in_proj_weight"] @ x + self.w["self_attn.in_proj_bias"] for x in nodes]
        result = []
        for i in range(len(nodes)):
            parts = []
            for h in range(heads):
                cut = slice(h * d, (h + 1) * d)
                q = projected[i][:dim][cut]
                energy = [math.exp(q @ p[dim : 2 * dim][cut] / math.sqrt(d)) for p in projected]
                values = [p[2 * dim :][cut] for p in projected]
                parts.append(sum(e * v for e, v in zip(energy, values, strict=True)) / sum(energy))
            result.append(self.linear("self_attn.out_proj", np.concatenate(parts)))
        return result

    def dynamic(self, node: Array, roi: Array, width: int) -> Array:
        """roi [bins, C]: each bin goes through the node's own C x D and D x C matrices."""
        dim = len(node)
        made = self.linear("inst_interact.dynamic_layer", node)
        first, second = made[: dim * width].reshape(dim, width), made[dim * width :].reshape(width, dim)
        seen = []
        for pixel in roi:
            hidden = np.maximum(self.norm("inst_interact.norm1", first.T @ pixel), 0)
            seen.append(np.maximum(self.norm("inst_interact.norm2", second.T @ hidden), 0))
        return np.maximum(
            self.norm("inst_interact.norm3", self.linear("inst_interact.out_layer", np.concatenate(seen))), 0
        )

    def tower(self, name: str, x: Array) -> Array:
        for layer in itertools.takewhile(lambda i: f"{name}.{i}.weight" in self.w, itertools.count(step=3)):
            x = np.maximum(self.norm(f"{name}.{layer + 1}", self.linear(f"{name}.{layer}", x)), 0)
        return x

    def stage(
        self, rois: Array, nodes: list[Array], time: Array, heads: int, width: int
    ) -> list[tuple[Array, Array, Array]]:
        mixed = self.attention(nodes, heads)
        nodes = [self.norm("norm1", a + b) for a, b in zip(nodes, mixed, strict=True)]
        silu = time / (1 + np.exp(-time))
        scale, shift = np.split(self.linear("block_time_mlp.1", silu), 2)
        found = []
        for node, roi in zip(nodes, rois, strict=True):
            node = self.norm("norm2", node + self.dynamic(node, roi, width))
            node = self.norm("norm3", node + self.linear("linear2", np.maximum(self.linear("linear1", node), 0)))
            x = node * (1 + scale) + shift
            found.append((self.linear("class_logits", self.tower("cls_module", x)),
                          self.linear("bboxes_delta", self.tower("reg_module", x)), node))  # fmt: skip
        return found


def move(box: Array, delta: Array) -> Array:
    w, h = box[2] - box[0], box[3] - box[1]
    cx, cy = (box[0] + box[2]) / 2 + delta[0] / 2 * w, (box[1] + box[3]) / 2 + delta[1] / 2 * h
    limit = math.log(100_000 / 16)
    w, h = w * math.exp(min(delta[2], limit)), h * math.exp(min(delta[3], limit))
    return np.array([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2])


def test_the_whole_head_equals_the_written_out_one(make_detector: Any) -> None:
    """Two stages with 1 class and 3 box layers: the second sees the first's boxes and its unscaled node features."""
    detector = make_detector(NUM_REG=3, HIDDEN_DIM=16)
    head: DynamicHead = detector.head.double()
    g = torch.Generator().manual_seed(3)
    features = [torch.randn(2, 16, 64 // s, 64 // s, generator=g, dtype=torch.float64) for s in (4, 8, 16)]
    low = torch.rand(2, 5, 2, generator=g, dtype=torch.float64) * 40
    boxes = torch.cat([low, low + 4 + torch.rand(2, 5, 2, generator=g, dtype=torch.float64) * 30], dim=-1)
    t, whwh = torch.tensor([999, 250]), torch.full((2, 4), 64.0, dtype=torch.float64)
    SinusoidalTime.forward, original = (lambda self, t: original(self, t).double()), SinusoidalTime.forward
    try:
        out = head(features, boxes, t, whwh)
    finally:
        SinusoidalTime.forward = original

    top = Scalars(head)
    for m in range(2):
        rates = np.exp(-math.log(10000) / 7 * np.arange(8))
        embedded = np.concatenate([np.sin(int(t[m]) * rates), np.cos(int(t[m]) * rates)])
        hidden = top.linear("time_mlp.1", embedded)
        time = top.linear("time_mlp.3", hidden * 0.5 * (1 + np.array([math.erf(v / math.sqrt(2)) for v in hidden])))
        current, nodes = boxes[m].numpy(), None
        for s, stage in enumerate(head.head_series):
            rois = head.pooler([f[m : m + 1] for f in features], torch.tensor(current)[None]).detach().numpy()
            nodes = [roi.mean(0) for roi in rois] if nodes is None else nodes
            found = Scalars(stage).stage(rois, nodes, time, heads=2, width=4)
            current = np.stack([move(b, d) for b, (_, d, _) in zip(current, found, strict=True)])
            np.testing.assert_allclose(out.logits[s, m].detach().numpy(), [f[0] for f in found], rtol=1e-4, atol=1e-5)
            np.testing.assert_allclose(out.boxes[s, m].detach().numpy(), current, rtol=1e-4, atol=1e-4)
            nodes = [f[2] for f in found]
    assert out.quality is None


def test_boxes_are_detached_between_stages_and_node_features_are_not(
    make_detector: Any, tiny_batch: TrainingBatch
) -> None:
    detector = make_detector()
    boxes = torch.tensor([[[5.0, 5.0, 40.0, 50.0]] * 8] * 4).requires_grad_()
    out = detector.head(detector.features(tiny_batch.images), boxes, torch.full((4,), 9), tiny_batch.whwh)
    first = detector.head.head_series[0]
    own = torch.autograd.grad(out.boxes[0].sum(), (boxes, first.bboxes_delta.weight), retain_graph=True)
    later = torch.autograd.grad(out.boxes[1].sum(), (boxes, first.bboxes_delta.weight), retain_graph=True)
    assert all(g.abs().sum() > 0 for g in own) and not any(g.any() for g in later)  # stage 2 starts from a constant
    (feature,) = torch.autograd.grad(out.logits[1].sum(), first.linear1.weight)
    assert feature.abs().sum() > 0


def twin(make_detector: Any, plain: nn.Module, **keys: Any) -> Any:
    """A detector with a switch on and the plain one's weights."""
    detector = make_detector(seed=9, **keys)
    missing = detector.load_state_dict(plain.state_dict(), strict=False)
    assert not missing.unexpected_keys
    return detector


def run(detector: Any, batch: TrainingBatch, label_state: Tensor | None = None) -> Any:
    g = torch.Generator().manual_seed(4)
    low = torch.rand(4, 8, 2, generator=g) * 40
    boxes = torch.cat([low, low + 4 + torch.rand(4, 8, 2, generator=g) * 20], dim=-1)
    t = torch.tensor([0, 300, 700, 999])
    return detector.head(detector.features(batch.images), boxes, t, batch.whwh, label_state)


HYBRID = {"LABEL_STATE": True, "LABEL_D3PM": True}


def reset_new_modules(detector: Any) -> None:
    """`make_detector` moves biases off their initial values; the modules under test start as they are built."""
    head = detector.head
    if head.label_embedding is not None:
        head.label_embedding.reset_projection()
    if head.geo_feat is not None:
        head.geo_feat.zero_output()


@pytest.mark.parametrize(
    "keys", [HYBRID, {"GEO_FEAT": True}, {"GEO_FEAT": True, "GEO_FEAT_MODE": "qk_pos"}, {"QUALITY_HEAD": True}]
)
def test_a_new_module_changes_no_output_of_a_trained_model(
    make_detector: Any, tiny_batch: TrainingBatch, keys: dict[str, Any]
) -> None:
    plain = make_detector()
    detector = twin(make_detector, plain, **keys)
    reset_new_modules(detector)
    state = torch.rand(4, 8, 4).softmax(-1) if "LABEL_STATE" in keys else None
    before, after = run(plain, tiny_batch), run(detector, tiny_batch, state)
    if keys.get("GEO_FEAT_MODE") == "qk_pos":  # q and k come from another matrix product: equal but for rounding
        torch.testing.assert_close(after.logits, before.logits, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(after.boxes, before.boxes, rtol=1e-5, atol=1e-4)
    else:
        assert torch.equal(after.logits, before.logits) and torch.equal(after.boxes, before.boxes)
    assert (after.quality is None) == ("QUALITY_HEAD" not in keys)


def test_all_unknown_is_an_exact_no_op_even_after_training(make_detector: Any, tiny_batch: TrainingBatch) -> None:
    plain = make_detector()
    detector = twin(make_detector, plain, **HYBRID)
    nn.init.normal_(detector.head.label_embedding.projection.weight)
    unknown = torch.zeros(4, 8, 4)
    unknown[..., 3] = 1
    known = unknown.roll(1, dims=-1)
    before, none, after = run(plain, tiny_batch), run(detector, tiny_batch), run(detector, tiny_batch, unknown)
    for out in (none, after):
        assert torch.equal(out.logits, before.logits) and torch.equal(out.boxes, before.boxes)
    assert not torch.allclose(run(detector, tiny_batch, known).logits, before.logits)


def test_without_relative_the_unknown_label_says_something_and_none_means_it(
    make_detector: Any, tiny_batch: TrainingBatch
) -> None:
    detector = make_detector(**HYBRID, LABEL_STATE_RELATIVE_TO_UNK=False)
    nn.init.normal_(detector.head.label_embedding.projection.weight)
    unknown = torch.zeros(4, 8, 4)
    unknown[..., 3] = 1
    none, after = run(detector, tiny_batch), run(detector, tiny_batch, unknown)
    torch.testing.assert_close(none.logits, after.logits, rtol=1e-5, atol=1e-6)
    nn.init.zeros_(detector.head.label_embedding.projection.weight)
    assert not torch.allclose(run(detector, tiny_batch).logits, after.logits)


@pytest.mark.parametrize("mode", ["add", "qk_pos"])
def test_gradient_reaches_every_new_module(make_detector: Any, tiny_batch: TrainingBatch, mode: str) -> None:
    detector = make_detector(**HYBRID, GEO_FEAT=True, GEO_FEAT_MODE=mode, QUALITY_HEAD=True)
    reset_new_modules(detector)

    def backward() -> dict[str, float]:
        detector.zero_grad()
        losses = detector.losses(tiny_batch, draw(0, 0, 4, 8, tiny_batch.mask.shape[1], 1000))
        assert "loss_quality" in losses
        torch.stack(list(losses.values())).sum().backward()
        return {k: float(p.grad.abs().sum()) for k, p in detector.named_parameters() if p.grad is not None}

    grads = backward()
    assert grads["head.label_embedding.projection.weight"] > 0 and grads["head.geo_feat.mlp.2.weight"] > 0
    with torch.no_grad():  # once the zero layers have moved, what lies before them learns too
        for name, parameter in detector.named_parameters():
            if name in ("head.label_embedding.projection.weight", "head.geo_feat.mlp.2.weight"):
                parameter.add_(0.1)
    grads = backward()
    assert all(grads.get(name, 0) > 0 for name, _ in detector.named_parameters()), [
        name for name, _ in detector.named_parameters() if not grads.get(name, 0) > 0
    ]


def test_many_nodes_are_convolved_in_parts_with_the_same_result() -> None:
    """Without a gradient, for the sake of the cache; the order of nodes stays."""
    conv = DynamicConv(16, 4, 3)
    node, roi = torch.randn(2 * CHUNK + 7, 16), torch.randn(2 * CHUNK + 7, 9, 16)
    with torch.no_grad():
        parts = conv(node, roi)
    torch.testing.assert_close(parts, conv(node, roi).detach(), rtol=1e-5, atol=1e-5)


def test_node_sets_of_one_image_share_its_features(make_detector: Any, tiny_batch: TrainingBatch) -> None:
    """G sets an image in one pass give what G passes give."""
    detector = make_detector(**HYBRID, QUALITY_HEAD=True)
    nn.init.normal_(detector.head.label_embedding.projection.weight)
    features = [f.detach() for f in detector.features(tiny_batch.images[:2])]
    g = torch.Generator().manual_seed(7)
    low = torch.rand(6, 8, 2, generator=g) * 40
    boxes = torch.cat([low, low + 15], dim=-1)
    state, t, whwh = torch.rand(6, 8, 4, generator=g), torch.tensor([5, 5, 5, 900, 900, 900]), torch.full((6, 4), 64.0)
    together = detector.head(features, boxes, t, whwh, state)
    for i in range(6):
        own = [f[i // 3 : i // 3 + 1] for f in features]
        alone = detector.head(own, boxes[i : i + 1], t[i : i + 1], whwh[:1], state[i : i + 1])
        torch.testing.assert_close(alone.logits[:, 0], together.logits[:, i], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(alone.boxes[:, 0], together.boxes[:, i], rtol=1e-5, atol=1e-4)
        torch.testing.assert_close(alone.quality[0], together.quality[i], rtol=1e-5, atol=1e-5)


def test_attention_kernels_agree_in_the_detector(make_detector: Any, tiny_batch: TrainingBatch) -> None:
    plain = make_detector()
    fused = twin(make_detector, plain, SELF_ATTN_IMPL="sdpa")
    a, b = run(plain, tiny_batch), run(fused, tiny_batch)
    torch.testing.assert_close(a.logits, b.logits, rtol=1e-5, atol=1e-5)
    assert fused.head.head_series[0].self_attn.last_kernel.startswith("sdpa:")
