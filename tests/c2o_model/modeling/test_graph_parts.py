"""The graph's switches in the whole detector: off = no bit, on = gradient, sampling and a record of the kernels."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from c2o_model.config import ConfigError, config_from_dict, typed_config
from c2o_model.modeling.graph_parts import attention_kernels
from c2o_model.modeling.targets import TrainingBatch
from c2o_model.sampling.sampler import sample
from c2o_model.training.draws import draw
from c2o_model.training.optimizer import build_optimizer

D = "MODEL.DiffusionDet."
ON: dict[str, dict[str, Any]] = {
    "distance": {"GEO_BIAS_TYPE": "distance", "GEO_BIAS_SIGMA": 2.0},
    "shared": {"GEO_BIAS_TYPE": "distance", "GEO_BIAS_SCALE_MODE": "shared", "SELF_ATTN_IMPL": "sdpa"},
    "iou": {"GEO_BIAS_TYPE": "iou", "GEO_BIAS_SCHEDULE": "linear"},
    "mlp": {"GEO_BIAS_TYPE": "mlp", "GEO_BIAS_HIDDEN": 5},
    "knn": {"GEO_BIAS_TOPK": 3},
    "iou_knn": {"GEO_BIAS_TYPE": "iou", "GEO_BIAS_TOPK": 3, "SELF_ATTN_IMPL": "sdpa"},
    "rel": {"GEO_FEAT": True, "GEO_FEAT_REL": True},
    "rel_qk": {"GEO_FEAT": True, "GEO_FEAT_REL": True, "GEO_FEAT_MODE": "qk_pos"},
    "topology": {"GRAPH_TOPO_LOSS": True, "GRAPH_TOPO_IOU_THRESH": 0.0},
    "topology_bias": {"GRAPH_TOPO_LOSS": True, "GEO_BIAS_TYPE": "distance", "GEO_BIAS_TOPK": 5},
    "independent": {"DISABLE_SELF_ATTN": True},
}


def losses(detector: Any, batch: TrainingBatch) -> dict[str, Tensor]:
    found: dict[str, Tensor] = detector.losses(batch, draw(3, 1, 4, 8, batch.mask.shape[1], 1000))
    return found


def detections(detector: Any, make_config: Any, batch: TrainingBatch, ids: list[int], **keys: Any) -> list[Tensor]:
    pick = [i - 1 for i in ids]
    images = [batch.images[i] for i in pick]
    with torch.no_grad():
        features = detector.features(torch.stack(images))
    settings = typed_config(make_config(SAMPLE_STEP=3, **keys)).sampler
    found = sample(detector, features, batch.whwh[pick], ids, [0, 5], settings)
    return [getattr(d, part) for image in found for d in image for part in ("boxes", "scores", "labels")]


@pytest.mark.parametrize(
    "name", [n for n in ON if n not in ("independent", "topology", "topology_bias", "knn", "iou_knn")]
)
def test_a_new_module_changes_nothing_yet_and_learns_at_once(
    name: str, make_detector: Any, tiny_batch: TrainingBatch
) -> None:
    """With the plain detector's parameters the losses have its bits, by the zero start."""
    base = {k: v for k, v in ON[name].items() if k in ("GEO_FEAT", "GEO_FEAT_MODE", "SELF_ATTN_IMPL")}
    plain, detector = make_detector(**base), make_detector(**ON[name])
    own = {k: v for k, v in detector.state_dict().items() if k not in plain.state_dict()}
    assert own and all(k.startswith(("head.geo_bias.", "head.geo_feat.rel_mlp.")) for k in own)
    detector.load_state_dict(plain.state_dict(), strict=False)
    with torch.no_grad():  # the fixture moves one-dimensional parameters off their start
        for key, value in detector.head.named_parameters():
            if key == "geo_bias.scale":
                value.fill_(1.0 if name == "mlp" else 0.0)
            elif key in ("geo_bias.net.out.bias", "geo_feat.rel_mlp.2.bias"):
                value.zero_()
    expected, found = losses(plain, tiny_batch), losses(detector, tiny_batch)
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        if name == "shared":  # zeros appended to queries and keys: other sums, the same numbers
            torch.testing.assert_close(found[key], value, rtol=1e-5, atol=1e-6)
        else:
            assert torch.equal(found[key], value), key
    torch.stack(list(found.values())).sum().backward()
    first = {"mlp": "net.out.weight", "rel": "2.weight", "rel_qk": "2.weight"}.get(name, "scale")
    grads = [p.grad for k, p in detector.named_parameters() if k in own and k.endswith(first)]
    assert len(grads) == 1 and grads[0] is not None and grads[0].abs().sum() > 0


def test_plain_parameters_are_drawn_alike_with_and_without_a_bias(make_config: Any) -> None:
    from detectron2.modeling import build_model

    states = []
    for keys in ({}, {"GEO_BIAS_TYPE": "mlp"}, {"GEO_BIAS_TYPE": "distance", "GEO_BIAS_TOPK": 2}, ON["independent"]):
        torch.manual_seed(7)
        states.append(build_model(make_config(**keys)).state_dict())
    for state in states[1:]:
        assert all(torch.equal(state[k], v) for k, v in states[0].items())
        assert all(k.startswith("head.geo_bias.") for k in state.keys() - states[0].keys())
    assert states[3].keys() == states[0].keys()  # independent nodes keep the attention's parameters


@pytest.mark.parametrize("name", ON)
def test_on_every_parameter_learns_and_sampling_works(
    name: str, make_detector: Any, make_config: Any, tiny_batch: TrainingBatch
) -> None:
    keys = ON[name]
    detector = make_detector(**keys)
    plain = losses(make_detector(), tiny_batch)
    found = losses(detector, tiny_batch)
    assert found.keys() - plain.keys() == ({"loss_topo"} if "topology" in name else set())
    torch.stack(list(found.values())).sum().backward()
    for key, parameter in detector.named_parameters():
        if name == "independent" and ".self_attn." in key:
            assert not parameter.requires_grad and parameter.grad is None
        else:
            assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), key
            if key.startswith(("head.geo_bias.scale", "head.geo_bias.net.out")):
                assert parameter.grad.abs().sum() > 0, key
    if "topology" not in name:
        with torch.no_grad():
            differs = losses(detector, tiny_batch)["loss_ce"] != plain["loss_ce"]
        assert bool(differs)
    together = detections(detector, make_config, tiny_batch, [1, 2, 3, 4], **keys)
    alone = [t for i in (1, 2, 3, 4) for t in detections(detector, make_config, tiny_batch, [i], **keys)]
    assert len(together) == len(alone) == 24
    for a, b in zip(together, alone, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-3)


def test_the_topology_loss_pulls_the_last_stage_and_its_weight_scales_it(
    make_detector: Any, tiny_batch: TrainingBatch
) -> None:
    one, three = (make_detector(**ON["topology"], GRAPH_TOPO_LOSS_WEIGHT=w) for w in (1.0, 3.0))
    a, b = losses(one, tiny_batch), losses(three, tiny_batch)
    torch.testing.assert_close(b["loss_topo"], 3 * a["loss_topo"])
    assert float(a["loss_topo"].detach()) > 0
    a["loss_topo"].backward()
    last = one.head.head_series[-1].self_attn
    grad = last.in_proj_weight.grad
    width = last.embed_dim
    assert grad[: 2 * width].abs().sum() > 0 and (grad[2 * width :] == 0).all()  # queries and keys, not values
    assert one.head.head_series[0].self_attn.in_proj_weight.grad.abs().sum() > 0  # through the nodes
    assert last.kept is None
    plain = losses(make_detector(), tiny_batch)
    assert all(torch.equal(plain[k], losses(one, tiny_batch)[k]) for k in plain)


def test_independent_nodes_do_not_know_of_each_other(make_detector: Any, tiny_batch: TrainingBatch) -> None:
    detector = make_detector(**ON["independent"])
    features = [f.detach() for f in detector.features(tiny_batch.images)]
    g = torch.Generator().manual_seed(1)
    low = torch.rand(4, 8, 2, generator=g) * 40
    boxes = torch.cat([low, low + 15], dim=-1)
    t = torch.tensor([0, 10, 500, 999])
    other = boxes.clone()
    other[:, 3] = torch.tensor([1.0, 2, 60, 50])
    with torch.no_grad():
        a, b = (detector.head(features, x, t, tiny_batch.whwh) for x in (boxes, other))
    rest = [n for n in range(8) if n != 3]
    assert torch.equal(a.logits[:, :, rest], b.logits[:, :, rest]) and torch.equal(
        a.boxes[:, :, rest], b.boxes[:, :, rest]
    )
    assert not torch.equal(a.logits[:, :, 3], b.logits[:, :, 3])


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({}, "torch"),
        ({"SELF_ATTN_IMPL": "sdpa"}, "sdpa:flash"),
        ({"SELF_ATTN_IMPL": "sdpa", "SELF_ATTN_SDPA_BACKEND": "math", "GEO_BIAS_TYPE": "iou"}, "sdpa:math+matrix"),
        ({"GEO_BIAS_TOPK": 2}, "torch+matrix"),
        (ON["shared"], "sdpa:flash+low_rank"),
        ({"SELF_ATTN_IMPL": "flex", "GEO_BIAS_TYPE": "distance"}, "flex:eager+score_mod"),
        (ON["independent"], "off"),
    ],
)
def test_the_kernels_that_ran_are_told(
    keys: dict[str, Any], expected: str, make_detector: Any, make_config: Any, tiny_batch: TrainingBatch
) -> None:
    detector = make_detector(**keys)
    assert attention_kernels(detector) == ("off" if expected == "off" else "not run",) * 2
    detections(detector, make_config, tiny_batch, [1, 2], **keys)
    assert attention_kernels(detector) == (expected, expected)


def test_flex_gives_the_detections_of_torch(make_detector: Any, make_config: Any, tiny_batch: TrainingBatch) -> None:
    for keys in ({}, ON["iou_knn"], ON["distance"]):
        found = [
            detections(make_detector(**{**keys, "SELF_ATTN_IMPL": impl}), make_config, tiny_batch, [1, 2])
            for impl in ("torch", "flex")
        ]
        for a, b in zip(*found, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-3)


def test_mixed_precision_trains_with_every_switch(make_detector: Any, tiny_batch: TrainingBatch) -> None:
    for name in ("distance", "shared", "mlp", "iou_knn", "rel_qk", "topology_bias", "independent"):
        detector = make_detector(**ON[name])
        features = [f.detach() for f in detector.features(tiny_batch.images)]
        draws = draw(3, 1, 4, 8, tiny_batch.mask.shape[1], 1000)
        boxes = torch.tensor([[4.0, 4, 40, 30], [10, 8, 50, 60], [0, 0, 64, 64], [30, 30, 45, 50]]).repeat(4, 2, 1)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = detector.losses(tiny_batch, draws, features)
            rough = detector.head(features, boxes, draws.t, tiny_batch.whwh).logits[0].detach()
        torch.stack([v.float() for v in found.values()]).sum().backward()
        assert all(p.grad is None or torch.isfinite(p.grad).all() for p in detector.parameters()), name
        exact = detector.head(features, boxes, draws.t, tiny_batch.whwh).logits[0].detach()
        torch.testing.assert_close(rough.float(), exact, rtol=0, atol=0.1 * float(exact.std() + 1))


def test_the_bias_has_its_own_learning_rate(make_config: Any, make_detector: Any) -> None:
    keys = {"GEO_BIAS_TYPE": "mlp", "GEO_BIAS_LR_MULT": 3.0}
    model = make_detector(**keys)
    optimizer = build_optimizer(make_config(**keys), model)
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    for key, parameter in model.named_parameters():
        assert rates[id(parameter)] == pytest.approx(0.006 if key.startswith("head.geo_bias.") else 0.002), key


OTHERS = "DISABLE_SELF_ATTN: True leaves each node by itself, but MODEL.DiffusionDet."
REL = {"GEO_FEAT": True, "GEO_FEAT_REL": True}


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({**ON["independent"], "GEO_BIAS_TYPE": "iou"}, OTHERS + "GEO_BIAS_TYPE: 'iou' needs the others"),
        ({**ON["independent"], "GEO_BIAS_TOPK": 4}, OTHERS + "GEO_BIAS_TOPK: 4 needs the others"),
        ({**ON["independent"], "GRAPH_TOPO_LOSS": True}, OTHERS + "GRAPH_TOPO_LOSS: True needs the others"),
        (
            {**ON["independent"], "GEO_FEAT": True, "GEO_FEAT_MODE": "qk_pos"},
            OTHERS + "GEO_FEAT_MODE: 'qk_pos' needs the others",
        ),
        ({**ON["independent"], **REL}, OTHERS + "GEO_FEAT_REL: True needs the others"),
        ({"GEO_FEAT_REL": True}, "GEO_FEAT_REL: True needs MODEL.DiffusionDet.GEO_FEAT: True"),
        (
            {"GEO_BIAS_SCALE_MODE": "shared", "GEO_BIAS_TYPE": "iou"},
            "GEO_BIAS_SCALE_MODE: 'shared' needs MODEL.DiffusionDet.GEO_BIAS_TYPE: 'distance', not 'iou'",
        ),
        (
            {"SELF_ATTN_IMPL": "flex", "DROPOUT": 0.1},
            "SELF_ATTN_IMPL: 'flex' has no dropout, but MODEL.DiffusionDet.DROPOUT is 0.1; use 'torch' or 'sdpa'",
        ),
    ],
)
def test_what_cannot_go_together_is_refused(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config_from_dict({D + k: v for k, v in keys.items()})
    assert str(caught.value).startswith(D + message)
