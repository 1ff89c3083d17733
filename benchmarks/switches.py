"""What each switch costs: a training step and one image's sampling of R50-FPN, N = 500, against the plain detector.

    python -m benchmarks.switches [--nodes 500] [--size 320] [--repeats 5] [--only geo_bias] [--device cuda]

Each case differs from the plain DiffusionDet by the keys that are printed beside it. Case and plain detector take
turns in one process; the ratio is seconds of the case over seconds of the plain one, so 1.00 is free.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from typing import Any

import torch
from detectron2.modeling import build_model

from benchmarks.workbench import ROOT, D, compare  # noqa: I001  (pins the kernels, so it comes first)
from c2o_model.config import load_config
from c2o_model.modeling.detector import DiffusionDet
from c2o_model.modeling.targets import TrainingBatch
from c2o_model.sampling.sampler import sample
from c2o_model.training.draws import draw

LABELS = {"LABEL_STATE": True, "LABEL_D3PM": True}
QUALITY = {"QUALITY_HEAD": True}
CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "sdpa": {"SELF_ATTN_IMPL": "sdpa"},
    "separable RoIAlign": {"ROI_ALIGN_IMPL": "separable"},
    "no self-attention": {"DISABLE_SELF_ATTN": True},
    "geo_bias distance": {"GEO_BIAS_TYPE": "distance"},
    "geo_bias iou": {"GEO_BIAS_TYPE": "iou"},
    "geo_bias mlp": {"GEO_BIAS_TYPE": "mlp"},
    "geo_bias kNN 8": {"GEO_BIAS_TOPK": 8},
    "geo_feat": {"GEO_FEAT": True},
    "geo_feat rel": {"GEO_FEAT": True, "GEO_FEAT_REL": True},
    "topology loss": {"GRAPH_TOPO_LOSS": True},
    "d3pm labels": LABELS,
    "quality head": QUALITY,
    "qfl": {"CLS_LOSS_TYPE": "qfl"},
    "iou-weighted boxes": {"BOX_LOSS_IOU_WEIGHT_POWER": 1.0},
    "anisotropic noise": {"ANISO_NOISE": True, "ANISO_NOISE_SIGMA_W": 0.7, "ANISO_NOISE_SIGMA_H": 0.7},
    "guidance": {**QUALITY, "QUALITY_GUIDANCE": True, "QUALITY_GUIDANCE_SCALE": 0.1},
}


def build(keys: dict[str, Any], nodes: int, device: str) -> DiffusionDet:
    """R50-FPN with six stages, width 256, 80 classes; fixed initial weights."""
    opts = [part for key, value in keys.items() for part in (D + key, value)]
    shape = [D + "NUM_PROPOSALS", nodes, "MODEL.WEIGHTS", "''", "MODEL.DEVICE", device]
    cfg = load_config(ROOT / "configs/models/coco/diffusiondet_r50.yaml", [*shape, *opts])
    torch.manual_seed(0)
    model = build_model(cfg)
    assert isinstance(model, DiffusionDet)
    return model


def scene(size: int, device: str) -> TrainingBatch:
    """One image of noise with eight objects."""
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(0, 256, (1, 3, size, size), generator=generator, dtype=torch.uint8)
    low = torch.rand(1, 8, 2, generator=generator) * size * 0.6
    boxes = torch.cat([low, low + size * (0.1 + 0.3 * torch.rand(1, 8, 2, generator=generator))], dim=-1)
    labels = torch.randint(0, 80, (1, 8), generator=generator)
    whwh = torch.full((1, 4), float(size))
    batch = [image, boxes, labels, torch.ones(1, 8, dtype=torch.bool), whwh]
    return TrainingBatch(*(tensor.to(device) for tensor in batch))


def train_step(model: DiffusionDet, batch: TrainingBatch, nodes: int) -> Callable[[], None]:
    """Forward, loss and backward of one image."""

    def step() -> None:
        draws = draw(0, 0, 1, nodes, batch.mask.shape[1], 1000)
        for name, value in vars(draws).items():
            if isinstance(value, torch.Tensor):
                setattr(draws, name, value.to(batch.whwh.device))
        model.train().zero_grad(set_to_none=True)
        torch.stack(list(model.losses(batch, draws).values())).sum().backward()

    return step


def sampling(model: DiffusionDet, batch: TrainingBatch) -> Callable[[], None]:
    """Backbone, one DDIM step, detections of one image."""

    def run() -> None:
        model.eval()
        with torch.inference_mode():
            sample(model, model.features(batch.images), batch.whwh, [0], [0], model.settings.sampler)

    return run


def whole(call: Callable[[], None], device: str) -> Callable[[], None]:
    """``call`` until the device has done what it was given."""

    def run() -> None:
        call()
        if device == "cuda":
            torch.cuda.synchronize()

    return run


def in_turns(case: Callable[[], None], plain: Callable[[], None], repeats: int, device: str) -> str:
    """Median milliseconds of the case, and its ratio to the plain detector."""
    measured = compare(whole(plain, device), whole(case, device), repeats, warmup=1)
    return f"{statistics.median(measured.plain) * 1e3:9.1f} ms {measured.ratio}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--nodes", type=int, default=500)
    parser.add_argument("--size", type=int, default=320, help="side of the image, px")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    args = parser.parse_args()
    batch = scene(args.size, args.device)
    plain = build({}, args.nodes, args.device)
    print(f"R50-FPN, N = {args.nodes}, {args.size} px, batch 1, {args.device}, {torch.get_num_threads()} thread(s)")
    print(f"{'case':20} {'training step':>34} {'sampling, 1 step':>34}   n = {args.repeats}")
    for name, keys in CASES.items():
        if args.only not in name:
            continue
        model = build(keys, args.nodes, args.device)
        steps = (train_step(model, batch, args.nodes), train_step(plain, batch, args.nodes))
        samplers = (sampling(model, batch), sampling(plain, batch))
        trained = in_turns(*steps, args.repeats, args.device)
        sampled = in_turns(*samplers, args.repeats, args.device)
        print(f"{name:20} {trained:>34} {sampled:>34}   {keys or ''}", flush=True)


if __name__ == "__main__":
    main()
