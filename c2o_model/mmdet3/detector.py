"""C2OGND: the detector as MMDetection's registry builds it. Backbone and neck are MMDetection's, the rest is the core.

The core's :class:`~c2o_model.modeling.detector.DiffusionDet` stands behind it, on the same backbone, neck and head:
matching, losses and sampling are its own, no second implementation. Parameters are called ``backbone.*``, ``neck.*``
and ``bbox_head.*``, as in other detectors of MMDetection. A configuration file imports it by its ``custom_imports``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from detectron2.config import CfgNode
from mmdet.models.detectors.base import BaseDetector
from mmdet.registry import MODELS
from mmengine.logging import MessageHub
from mmengine.structures import InstanceData
from torch import Tensor, nn

from c2o_model.config import ConfigError, config_from_dict, typed_config
from c2o_model.data.coco_nodes import collate_coco
from c2o_model.diffusion.schedules import GaussianSchedule, ddim_times
from c2o_model.divisors import installed
from c2o_model.mmdet3 import backbones as _backbones  # noqa: F401  (registers C2OSmallResNetFPN)
from c2o_model.modeling.detector import DiffusionDet, build_head, build_label_process
from c2o_model.modeling.images import PixelNormaliser
from c2o_model.modeling.targets import TrainingBatch
from c2o_model.sampling.detections import Detections
from c2o_model.sampling.sampler import sample
from c2o_model.sampling.steps import NodeState, first_state, predict
from c2o_model.training import processes
from c2o_model.training.split import Part, on_device

LEVELS = "MODEL.ROI_HEADS.IN_FEATURES"
OTHER_LOOP = "this stack trains without it; train with python -m c2o_model.train_net and convert the checkpoint"


class Pyramid(nn.Module):
    """MMDetection's backbone and neck with the interface that the core reads: a mapping of maps by name."""

    def __init__(self, backbone: nn.Module, neck: nn.Module | None, first_level: int) -> None:
        super().__init__()
        self.backbone, self.neck, self.first_level = backbone, neck, first_level

    def forward(self, images: Tensor) -> Mapping[str, Tensor]:
        """[B,3,H,W] -> {"p2": [B,C,H/4,W/4], ...}: level l has stride 2^l."""
        maps = self.backbone(images)
        maps = maps if self.neck is None else self.neck(maps)
        return maps if isinstance(maps, Mapping) else {f"p{self.first_level + i}": m for i, m in enumerate(maps)}


@MODELS.register_module()
class C2OGND(BaseDetector):
    """The graph-noise diffusion detector.

    Args:
        backbone, neck: of MMDetection's registry; ``neck`` None where the backbone makes the pyramid.
        c2o: the keys of MODEL.DiffusionDet, or a C2O configuration ({"MODEL": {...}, ...}); what is left out has its
            default, and a wrong key is a ConfigError.
        first_level: log2 of the stride of the neck's first map.
        train_seed: decides the noise of training, together with the iteration.
        eval_seed: decides the noise of prediction, together with the image's ``img_id``.
        data_preprocessor: of images; they arrive here normalised and padded.
    """

    core: DiffusionDet

    def __init__(
        self,
        backbone: Mapping[str, Any],
        c2o: Mapping[str, Any],
        neck: Mapping[str, Any] | None = None,
        first_level: int = 2,
        train_seed: int = 0,
        eval_seed: int = 0,
        data_preprocessor: Mapping[str, Any] | nn.Module | None = None,
        init_cfg: Mapping[str, Any] | None = None,
    ) -> None:
        if isinstance(data_preprocessor, Mapping):  # here: the base class looks for it in a runner's scope only
            data_preprocessor = MODELS.build(data_preprocessor)
        super().__init__(data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        self.cfg = _checked(c2o, backbone if neck is None else neck, first_level)
        self.train_seed, self.eval_seed = train_seed, eval_seed
        self._steps = 0  # of training so far, where no runner counts them
        self.backbone = MODELS.build(backbone)
        if neck is not None:
            self.neck = MODELS.build(neck)
        core = _core(self.cfg, Pyramid(self.backbone, self.neck if neck is not None else None, first_level))
        self.bbox_head = core.head
        self.__dict__["core"] = core  # no submodule: its parameters are this module's already

    def train(self, mode: bool = True) -> C2OGND:
        """As nn.Module's; a frozen backbone (SOLVER.BACKBONE_MULTIPLIER 0) stays in evaluation mode."""
        super().train(mode)
        self.core.train(mode)
        return self

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> C2OGND:
        """As nn.Module's (``.to``, ``.cuda``), with the core's tables."""
        super()._apply(fn, recurse)
        self.core._apply(fn, recurse)
        return self

    def extract_feat(self, batch_inputs: Tensor) -> list[Tensor]:
        """Normalised, padded images [B,3,H,W] -> the levels [B,C,H_l,W_l] that the head reads."""
        return self.core.features(batch_inputs)

    def loss(self, batch_inputs: Tensor, batch_data_samples: Sequence[Any]) -> dict[str, Tensor]:
        """The core's losses by name, weighted; their sum is what training minimises.

        The noise is keyed by (train_seed, iteration). Of several processes each takes its part of the noise and divides
        by the counts of all, so that the mean of their gradients is the gradient of the whole batch.
        """
        d = self.cfg.MODEL.DiffusionDet
        for key in ("SAMPLER_DISTILL", "CONSISTENCY_DISTILL", "USE_FED_LOSS"):
            if d[key]:
                raise ConfigError(f"MODEL.DiffusionDet.{key}: True: {OTHER_LOOP}")
        batch = self._training_batch(batch_inputs, batch_data_samples)
        size, most = batch.mask.shape
        part = Part(processes.rank(), processes.world())
        draws = part.draws(
            self.train_seed,
            self._iteration(),
            size,
            d.NUM_PROPOSALS,
            most,
            d.DIFFUSION_TIMESTEPS,
            label_states=d.NUM_CLASSES + 1 if d.LABEL_STATE and not d.LABEL_D3PM else 0,
        )
        draws = on_device(draws, batch_inputs.device)
        if part.count == 1:
            return self.core.losses(batch, draws)
        with installed(processes.summed):
            losses = self.core.losses(batch, draws)
        return {name: value * part.count for name, value in losses.items()}

    @torch.no_grad()
    def predict(self, batch_inputs: Tensor, batch_data_samples: Sequence[Any], rescale: bool = True) -> list[Any]:
        """The samples with ``pred_instances``: bboxes [n,4] xyxy, scores [n] (best first), labels [n].

        rescale: in pixels of the file (``scale_factor``, ``ori_shape``); else of the network's input.
        """
        found = self.detect(self.extract_feat(batch_inputs), batch_data_samples, [self.eval_seed], rescale)
        results = [InstanceData(bboxes=d.boxes, scores=d.scores, labels=d.labels) for (d,) in found]
        return self.add_pred_to_datasample(list(batch_data_samples), results)

    @torch.no_grad()
    def detect(
        self,
        features: Sequence[Tensor],
        batch_data_samples: Sequence[Any],
        eval_seeds: Sequence[int],
        rescale: bool = True,
    ) -> list[list[Detections]]:
        """Detections of every image and eval seed, from the pyramid that :meth:`extract_feat` gives."""
        whwh = _whwh(batch_data_samples, features[0].device)
        ids = [int(s.metainfo.get("img_id", i)) for i, s in enumerate(batch_data_samples)]
        sampler, most = self.core.settings.sampler, self.cfg.TEST.DETECTIONS_PER_IMAGE
        found = sample(self.core, features, whwh, ids, eval_seeds, sampler, most)
        if not rescale:
            return found
        return [
            [Detections(to_original(s, d.boxes), d.scores, d.labels) for d in runs]
            for s, runs in zip(batch_data_samples, found, strict=True)
        ]

    def _forward(
        self, batch_inputs: Tensor, batch_data_samples: Sequence[Any] | None = None, start: NodeState | None = None
    ) -> tuple[Tensor, Tensor]:
        """The head's raw output at the highest noise level: logits [S,B,N,K] and boxes [S,B,N,4] of its S stages.

        Nodes start at ``start``, or at the noise of (eval_seed, img_id). Without samples an image fills the input, and
        its id is its place in the batch.
        """
        features = self.extract_feat(batch_inputs)
        b, _, height, width = batch_inputs.shape
        whwh, ids = batch_inputs.new_tensor([[width, height] * 2]).repeat(b, 1), list(range(b))
        if batch_data_samples is not None:
            whwh = _whwh(batch_data_samples, batch_inputs.device)
            ids = [int(s.metainfo.get("img_id", i)) for i, s in enumerate(batch_data_samples)]
        if start is None:
            nodes = self.core.settings.sampler.test_num_proposals or self.core.settings.diffusion.num_proposals
            start = first_state(self.core, [(self.eval_seed, i, 0) for i in ids], nodes, whwh.device)
        t, _ = ddim_times(1, self.core.schedule.timesteps)[0]
        out = predict(self.core, features, whwh, start, t)
        return out.logits, out.boxes

    def _training_batch(self, images: Tensor, samples: Sequence[Any]) -> TrainingBatch:
        device = images.device
        truth = [{"boxes": s.gt_instances.bboxes.to(device), "labels": s.gt_instances.labels} for s in samples]
        most = max(1, *(len(own["labels"]) for own in truth))
        nodes, classes, mask = collate_coco(truth, most, self.core.settings.head.num_classes)
        return TrainingBatch(images, nodes, classes.masked_fill(~mask, -1), mask, _whwh(samples, device))

    def _iteration(self) -> int:
        """The runner's, which a resumed training continues; without a runner the number of steps so far."""
        counted = MessageHub.get_current_instance().get_info("iter")
        self._steps += 1
        return self._steps - 1 if counted is None else int(counted)


def to_original(data_sample: Any, boxes: Tensor) -> Tensor:
    """Boxes [n,4] xyxy of the network's input in pixels of the file, inside it."""
    meta = data_sample.metainfo
    if "scale_factor" not in meta:
        return boxes
    x, y = (1.0 / float(factor) for factor in meta["scale_factor"][:2])
    height, width = meta["ori_shape"][:2]
    return (boxes * boxes.new_tensor([x, y, x, y])).clamp(min=0).minimum(boxes.new_tensor([width, height] * 2))


def _whwh(data_samples: Sequence[Any], device: torch.device) -> Tensor:
    """[B,4] sizes of the images without padding, px."""
    sizes = [[s.img_shape[1], s.img_shape[0]] * 2 for s in data_samples]
    return torch.tensor(sizes, dtype=torch.float32, device=device)


def _checked(c2o: Mapping[str, Any], pyramid: Mapping[str, Any], first_level: int) -> CfgNode:
    """The C2O configuration of ``c2o``, held against what ``pyramid`` (neck, or backbone with its own) says it gives.

    Raises:
        ConfigError: naming the key.
    """
    values = _plain(c2o)
    whole = any(key in ("MODEL", "INPUT", "SOLVER", "TEST") or "." in key for key in values)
    four = {LEVELS: [f"p{first_level + i}" for i in range(4)]}  # where the keys do not say which levels the head reads
    cfg = config_from_dict({**four, **(values if whole else {"MODEL": {"DiffusionDet": values}})})
    dim, channels = cfg.MODEL.DiffusionDet.HIDDEN_DIM, pyramid.get("out_channels")
    if channels not in (None, dim):
        raise ConfigError(
            f"MODEL.DiffusionDet.HIDDEN_DIM: {dim}, but the pyramid has {channels} channels (out_channels); set them "
            "equal"
        )
    given = [f"p{first_level + i}" for i in range(pyramid.get("num_outs", 0))]
    missing = [name for name in cfg.MODEL.ROI_HEADS.IN_FEATURES if given and name not in given]
    if missing:
        raise ConfigError(f"{LEVELS}: {missing[0]} is not one of {', '.join(given)}, which the neck gives (num_outs)")
    return cfg


def _plain(value: Any) -> Any:
    """mmengine's configuration dictionaries as plain ones."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return type(value)(_plain(item) for item in value) if isinstance(value, list | tuple) else value


def _core(cfg: CfgNode, pyramid: Pyramid) -> DiffusionDet:
    settings, in_features = typed_config(cfg), list(cfg.MODEL.ROI_HEADS.IN_FEATURES)
    return DiffusionDet(
        backbone=pyramid,
        head=build_head(cfg, settings, [2 ** int(name.removeprefix("p")) for name in in_features]),
        normalise=PixelNormaliser([0.0] * 3, [1.0] * 3, 1),  # changes nothing: the preprocessor has done it
        in_features=in_features,
        schedule=GaussianSchedule.cosine(settings.diffusion.diffusion_timesteps),
        label_process=build_label_process(settings),
        settings=settings,
        freeze_backbone=cfg.SOLVER.BACKBONE_MULTIPLIER == 0,
    )
