# ruff: noqa: E402
"""The same detector twice: the core's (Detectron2) and C2OGND with its converted weights; and what both are shown."""

from __future__ import annotations

from c2o_model.determinism import pin_environment

pin_environment()

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from torch import Tensor

from c2o_model.config import load_config
from c2o_model.mmdet3.convert import to_mmdet
from c2o_model.mmdet3.detector import C2OGND
from c2o_model.mmdet3.from_c2o import model_config
from c2o_model.modeling.detector import DiffusionDet
from c2o_model.modeling.targets import TrainingBatch

D = "MODEL.DiffusionDet."
SLIM = [D + "NUM_PROPOSALS", 24, D + "NUM_HEADS", 2]  # of the large heads: what is compared is the same, and quick
SWITCHES = [  # all that changes the head or the processes, in one model
    *(D + "LABEL_STATE", True, D + "LABEL_D3PM", True, D + "QUALITY_HEAD", True, D + "QUALITY_SCORE_REWEIGHT", True),
    *(D + "GEO_FEAT", True, D + "GEO_BIAS_TYPE", "iou", D + "ANISO_NOISE", True, D + "ANISO_NOISE_SIGMA_W", 0.7),
]
R18 = ["MODEL.RESNETS.DEPTH", 18, "MODEL.RESNETS.RES2_OUT_CHANNELS", 64]
CAFFE = ["MODEL.RESNETS.STRIDE_IN_1X1", True, "INPUT.FORMAT", "BGR"]
GROUPS = ["MODEL.RESNETS.NORM", "GN", "MODEL.FPN.NORM", "GN"]
_COCO = "configs/models/coco/diffusiondet_"
SHOWN: dict[str, tuple[str, list[Any], tuple[int, int]]] = {
    "digits_small": ("configs/models/digits/small.yaml", [], (90, 118)),
    "digits": ("configs/models/digits/warmstart.yaml", [], (90, 118)),
    "digits_all_switches": ("configs/models/digits/small.yaml", SWITCHES, (90, 118)),
    "r18": (f"{_COCO}r50.yaml", [*SLIM, *R18], (90, 118)),
    "r50": (f"{_COCO}r50.yaml", SLIM, (90, 118)),
    "r50_strided_1x1_bgr": (f"{_COCO}r50.yaml", [*SLIM, *CAFFE], (90, 118)),
    "r50_group_norm": (f"{_COCO}r50.yaml", [*SLIM, *GROUPS], (90, 118)),
    "r101": (f"{_COCO}r101.yaml", SLIM, (90, 118)),
    "swin_t": (f"{_COCO}swin_b.yaml", [*SLIM, "MODEL.SWIN.SIZE", "T"], (250, 280)),
    "swin_b": (f"{_COCO}swin_b.yaml", SLIM, (250, 280)),
}
"""Configuration, overrides, and height and width of the picture: padded to 96 x 128, that of Swin to 256 x 288."""


@dataclass
class Pair:
    """One model in both stacks, ready to predict, and how large a picture is."""

    cfg: CfgNode
    core: DiffusionDet
    mm: C2OGND
    size: tuple[int, int]


def make_pair(name: str, opts: Sequence[Any] = ()) -> Pair:
    """A model of :data:`SHOWN` with random weights, none of them degenerate."""
    path, own, size = SHOWN[name]
    cfg = load_config(path, ["MODEL.DEVICE", "cpu", *own, *opts])
    torch.manual_seed(0)
    core = build_model(cfg).eval()
    assert isinstance(core, DiffusionDet)
    core.load_state_dict(random_state(core.state_dict()))
    mm = MODELS.build(model_config(cfg)).eval()
    mm.load_state_dict(to_mmdet(core.state_dict(), cfg), strict=True)
    return Pair(cfg, core, mm, size)


def random_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The initial values with statistics and affine parts of norms drawn anew, and nothing that is zero left zero."""
    new = {}
    for name, value in state.items():
        if not value.is_floating_point():
            new[name] = value
        elif name.endswith("running_var"):
            new[name] = torch.empty_like(value).uniform_(0.5, 1.5)
        elif value.ndim == 1 and name.endswith("weight"):
            ends_a_block = re.search(r"conv3\.norm|res\d\.\d+\.conv2\.norm", name)  # else maps grow from block to block
            new[name] = value * torch.empty_like(value).uniform_(0.5, 1.5) * (0.25 if ends_a_block else 1.0)
        elif value.count_nonzero() == 0:
            new[name] = torch.randn_like(value) * 0.05
        else:
            new[name] = value
    return new


def picture(size: tuple[int, int], seed: int) -> Tensor:
    """uint8 [3,H,W] RGB: coloured blobs, so that maps are not flat."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, 6, 7, generator=generator)
    return (torch.nn.functional.interpolate(coarse, size=size, mode="bicubic")[0].clamp(0, 1) * 255).to(torch.uint8)


def data_sample(
    size: tuple[int, int],
    img_id: int,
    boxes: Sequence[Sequence[float]] = (),
    labels: Sequence[int] = (),
    file_size: tuple[int, int] | None = None,
) -> DetDataSample:
    """What a data set of MMDetection hands over with an image of ``size``, made from a file of ``file_size``."""
    file_size = file_size or size
    factors = (size[1] / file_size[1], size[0] / file_size[0])
    meta = {"img_id": img_id, "img_shape": size, "ori_shape": file_size, "scale_factor": factors}
    sample = DetDataSample(metainfo=meta)
    truth = InstanceData()
    truth.bboxes, truth.labels = torch.tensor(boxes).float().reshape(-1, 4), torch.tensor(labels, dtype=torch.int64)
    sample.gt_instances = truth
    return sample


def preprocessed(mm: C2OGND, pictures: Sequence[Tensor], samples: Sequence[DetDataSample]) -> dict[str, Any]:
    """The batch as MMDetection makes it of files: channels B, G, R, then the model's own preprocessor."""
    return dict(mm.data_preprocessor({"inputs": [p.flip(0) for p in pictures], "data_samples": list(samples)}))


def training_batch(pictures: Sequence[Tensor], samples: Sequence[DetDataSample]) -> TrainingBatch:
    """The same for the core."""
    most = max(1, *(len(s.gt_instances) for s in samples))
    boxes = torch.zeros(len(samples), most, 4)
    labels = torch.full((len(samples), most), -1, dtype=torch.int64)
    for i, s in enumerate(samples):
        boxes[i, : len(s.gt_instances)] = s.gt_instances.bboxes
        labels[i, : len(s.gt_instances)] = s.gt_instances.labels
    whwh = torch.tensor([[s.img_shape[1], s.img_shape[0]] * 2 for s in samples]).float()
    return TrainingBatch(list(pictures), boxes, labels, labels >= 0, whwh)


def relative(ours: Tensor, theirs: Tensor) -> float:
    """Largest difference over the largest magnitude of ``ours``."""
    assert ours.shape == theirs.shape
    return float(((ours - theirs).abs().max() / ours.abs().max()).detach())
