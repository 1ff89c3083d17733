"""What a training needs, on paper: work, memory and days, from its configuration alone. No GPU and no data needed.

    python -m benchmarks.sizing configs/models/coco/diffusiondet_r50.yaml [more.yaml …] [--side 800 1344] [--tflops 30]

Counted, not timed: a training step of one image is carried out on tensors without content (torch's FakeTensorMode), and
torch counts the floating-point operations of its matrix products and convolutions and the bytes that are kept for the
backward pass. Losses and matching, which need contents, are left out; they are small. Every node reads the finest
level of the pyramid, which changes neither count by much. What is assumed: the speed that a GPU sustains (--tflops),
and that speed grows with the number of GPUs.
"""

from __future__ import annotations

import argparse
import gc
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from detectron2.modeling import build_model
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode
from torchvision.ops import roi_align

import benchmarks.workbench  # noqa: F401  (pins the kernels)
from c2o_model.config import load_config
from c2o_model.modeling.detector import DiffusionDet
from c2o_model.training.precision import precision

GIB = 2**30
DAY = 24 * 3600
BYTES = 4 + 4 + 8  # of a trained parameter: weight, gradient, two moments of AdamW
HEADER = (
    "| configuration | parameters M | GFLOP an image: backbone | head | training step | GiB an image: float32"
    " | bfloat16 | fixed GiB | days on 1 GPU | 8 | 64 | images/s on 8 |"
)


@dataclass(frozen=True)
class Need:
    """Of a training step of one image, and of the model itself.

    backbone, head: operations of a forward pass; step: of forward and backward; kept: bytes for the backward pass;
    fixed: bytes of weights, gradients, optimiser and average.
    """

    parameters: int
    backbone: float
    head: float
    step: float
    kept: int
    fixed: int


class FinestLevel(nn.Module):
    """Stands in for the pooler, whose choice of levels depends on contents: all boxes read the first level."""

    def __init__(self, resolution: int, stride: int) -> None:
        super().__init__()
        self.resolution, self.stride = resolution, stride

    def forward(self, features: Sequence[Tensor], boxes: Tensor) -> Tensor:
        """As :meth:`NodePooler.forward`."""
        windows = roi_align(features[0], list(boxes.unbind()), self.resolution, 1 / self.stride, 2, True)
        return windows.flatten(2).transpose(1, 2)


def need(config: Path, height: int, width: int, amp: bool) -> Need:
    """Count for one image of height x width px."""
    cfg = load_config(config, ["MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", "''"])
    model = build_model(cfg).train()
    assert isinstance(model, DiffusionDet)
    model.head.pooler = FinestLevel(cfg.MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION, model.head.pooler.strides[0])
    own = {tensor.untyped_storage()._cdata for tensor in (*model.parameters(), *model.buffers())}
    kept: dict[int, int] = {}
    alive = []  # so that no storage takes the place of another one

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            kept[storage._cdata] = storage.nbytes()
            alive.append(tensor)
        return tensor

    counter = FlopCounterMode(display=False)
    with FakeTensorMode(allow_non_fake_inputs=True), counter, saved_tensors_hooks(keep, lambda tensor: tensor):
        boxes = torch.empty(1, cfg.MODEL.DiffusionDet.NUM_PROPOSALS, 4)
        with precision(amp, torch.device("cpu")):
            pyramid = model.backbone(torch.empty(1, 3, height, width))
            features = [pyramid[name].float() for name in model.in_features]
            backbone = counter.get_total_flops()
            out = model.head(features, boxes, torch.zeros(1, dtype=torch.int64), torch.empty(1, 4), None)
            head = counter.get_total_flops() - backbone
        (out.logits.float().sum() + out.boxes.float().sum()).backward()
        step = counter.get_total_flops()
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    every = sum(p.numel() for p in model.parameters())
    alive.clear()
    del pyramid, features, out  # the graph holds the model, hooks and all
    gc.collect()
    fixed = trained * BYTES + (every - trained) * 4 + (every * 4 if cfg.MODEL_EMA.ENABLED else 0)
    return Need(every, backbone, head, step, sum(kept.values()), fixed)


def row(config: Path, side: tuple[int, int], tflops: float) -> str:
    """A line of the table."""
    plain, half = (need(config, *side, amp) for amp in (False, True))
    cfg = load_config(config, [])
    images = cfg.SOLVER.MAX_ITER * cfg.SOLVER.IMS_PER_BATCH
    rate = tflops * 1e12 / plain.step  # images a second and GPU
    days = [images / (rate * gpus) / DAY for gpus in (1, 8, 64)]
    cells = [
        f"`{config.stem}`, {cfg.MODEL.DiffusionDet.NUM_PROPOSALS} nodes",
        f"{plain.parameters / 1e6:.0f}",
        *(f"{value / 1e9:.0f}" for value in (plain.backbone, plain.head, plain.step)),
        *(f"{value / GIB:.1f}" for value in (plain.kept, half.kept, plain.fixed)),
        *(f"{value:.1f}" if value >= 1 else f"{value:.2f}" for value in days),
        f"{8 * rate:.0f}",
    ]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("configs", nargs="+", type=Path, metavar="CONFIG")
    parser.add_argument("--side", nargs=2, type=int, default=(800, 1344), metavar=("H", "W"), help="px, padded to 32")
    parser.add_argument("--tflops", type=float, default=30.0, help="that a GPU sustains, 10^12 operations a second")
    args = parser.parse_args()
    print(HEADER)
    print("|---|" + "---:|" * (HEADER.count("|") - 2))
    for config in args.configs:
        print(row(config, tuple(args.side), args.tflops), flush=True)


if __name__ == "__main__":
    main()
