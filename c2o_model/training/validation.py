"""AP while a detector trains (TEST.EVAL_PERIOD): for the curve alone, nothing is chosen by it.

What would be saved at this moment is copied into a second detector, which samples the validation split in one step
with one eval seed. The training itself sees nothing of it: no weight, mode, gradient or random state of it is touched,
so its checkpoint has the same bits with and without.

Called by the training loop, which gets the measure from ``train_net`` or ``training.shared``.
"""

from __future__ import annotations

import contextlib
import copy
import io
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.utils import comm
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch import Tensor, nn

from c2o_model.config import ConfigError, at_test_time, typed_config
from c2o_model.data.coco import CocoSplit
from c2o_model.data.inference import InferenceBatch, inference_batches
from c2o_model.modeling.detector import DiffusionDet
from c2o_model.sampling.sampler import sample

Measure = Callable[[nn.Module], float]
EVAL_SEED, SAMPLE_STEP = 0, 1
BATCH = 8  # images, as evaluation has them: the detections are those of an evaluation of the same weights
MB = 2**20


def evaluates(cfg: CfgNode) -> bool:
    """Whether a training of ``cfg`` measures AP: a detector's with TEST.EVAL_PERIOD, never a backbone's pretraining."""
    return bool(cfg.TEST.EVAL_PERIOD) and cfg.MODEL.META_ARCHITECTURE == "DiffusionDet"


class ValidationAP:
    """AP (0-100) of a detector on a split, or its first TEST.EVAL_IMAGES images: 1 step, eval seed 0.

    The pyramids of a frozen backbone are kept (up to DATALOADER.FEATURE_CACHE_MB), so one object serves one training.
    In a torch.distributed group the processes share the images, and each gets the AP of all.
    """

    def __init__(self, cfg: CfgNode, split: CocoSplit) -> None:
        """Raises ConfigError: the split has other classes than the model."""
        if (classes := cfg.MODEL.DiffusionDet.NUM_CLASSES) != len(split.class_names):
            raise ConfigError(
                f"MODEL.DiffusionDet.NUM_CLASSES: {classes}, but {split.annotation}, which TEST.EVAL_PERIOD evaluates "
                f"on, has {len(split.class_names)} classes"
            )
        count = cfg.TEST.EVAL_IMAGES or len(split)
        self.split = split.select(list(range(min(count, len(split)))))
        self.cfg = cfg
        self.settings = typed_config(at_test_time(cfg, {"MODEL.DiffusionDet.SAMPLE_STEP": SAMPLE_STEP}))
        self.truth = _ground_truth(self.split)
        self._kept: list[tuple[InferenceBatch, list[Tensor]]] = []

    @torch.no_grad()
    def __call__(self, model: nn.Module) -> float:
        """The AP of ``model``, a detector in evaluation mode, whose sampling settings are changed; nan where the split
        has no object.
        """
        assert isinstance(model, DiffusionDet)
        model.settings = self.settings
        found: dict[int, list[dict[str, Any]]] = {}
        for batch, features in self._pyramids(model):
            whwh = batch.whwh.to(model.device)
            per_image = self.cfg.TEST.DETECTIONS_PER_IMAGE
            results = sample(model, features, whwh, batch.image_ids, [EVAL_SEED], self.settings.sampler, per_image)
            for number, (image_id, (detections,)) in enumerate(zip(batch.image_ids, results, strict=True)):
                boxes = batch.to_original(number, detections.boxes).double().cpu()
                sides = torch.cat([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], 1).tolist()
                rest = zip(sides, detections.scores.tolist(), detections.labels.tolist(), strict=True)
                found[image_id] = [
                    _annotation(image_id, self.split.category_ids[label], box, score=score)
                    for box, score, label in rest
                ]
        if comm.get_world_size() > 1:
            found = {image: boxes for part in comm.all_gather(found) for image, boxes in part.items()}
        return _average_precision(self.truth, [box for image in self.split.image_ids for box in found[image]])

    def _pyramids(self, model: DiffusionDet) -> Iterator[tuple[InferenceBatch, list[Tensor]]]:
        """This process's images with what the backbone says of them."""
        if self._kept:
            yield from self._kept
            return
        i = self.cfg.INPUT
        room = self.cfg.DATALOADER.FEATURE_CACHE_MB * MB if model.freeze_backbone else 0
        kept: list[tuple[InferenceBatch, list[Tensor]]] = []
        for batch in inference_batches(
            self.split, BATCH, i.MIN_SIZE_TEST, i.MAX_SIZE_TEST, comm.get_rank(), comm.get_world_size()
        ):
            features = model.features(batch.images)
            room -= sum(level.nbytes for level in features)
            kept = [*kept, (batch, features)] if room >= 0 else []
            yield batch, features
        self._kept = kept


class Onlooker:
    """Measures the weights that a training would save: at the first row of its curve from every multiple of
    TEST.EVAL_PERIOD on, and at the end.

    ap: the last measurement, or None where there was none or it is undefined.
    """

    def __init__(self, cfg: CfgNode, model: nn.Module, measure: Measure | None, curve: Sequence[Mapping[str, float]]):
        """``model`` is copied: take it before anything is compiled. ``curve``: of a training that goes on.

        Raises ConfigError: TEST.EVAL_PERIOD asks for a measurement, but there is none.
        """
        self.period, self.last = cfg.TEST.EVAL_PERIOD, cfg.SOLVER.MAX_ITER
        self.on = evaluates(cfg)
        self.ap: float | None = None
        if not self.on:
            return
        if measure is None:
            raise ConfigError(f"TEST.EVAL_PERIOD: {self.period} needs a split to evaluate on; give one, or set it to 0")
        self.measure = measure
        self.copy = copy.deepcopy(model).requires_grad_(False).eval()
        for row in curve:
            self._remember(row["AP"])

    def row(self, iteration: int, count: int, weights: Mapping[str, Tensor]) -> dict[str, float]:
        """What the curve's row of the ``count`` iterations to ``iteration`` gets: AP, nan where it is not measured;
        {} with TEST.EVAL_PERIOD 0.
        """
        if not self.on:
            return {}
        if iteration // self.period == (iteration - count) // self.period and iteration != self.last:
            return {"AP": math.nan}
        self.copy.load_state_dict(weights)
        device = next(self.copy.parameters()).device
        with torch.random.fork_rng([device] if device.type == "cuda" else [], device_type=device.type), torch.no_grad():
            value = float(self.measure(self.copy.eval()))
        self._remember(value)
        return {"AP": value}

    def _remember(self, value: float) -> None:
        self.ap = self.ap if math.isnan(value) else value


def _average_precision(truth: COCO, found: Sequence[dict[str, Any]]) -> float:
    """COCO's AP (IoU 0.50:0.05:0.95, all sizes, 100 detections an image) on the 0-100 scale; nan without an object."""
    numbered = [{**box, "id": number} for number, box in enumerate(found, start=1)]
    results = _index(truth.dataset["images"], truth.dataset["categories"], numbered)
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(truth, results, "bbox")
        evaluation.params.maxDets = [100]
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ["all"]
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"]
    defined = precision[precision > -1]  # classes without an object have -1
    return 100.0 * float(defined.mean()) if defined.size else math.nan


def _ground_truth(split: CocoSplit) -> COCO:
    """The annotation file's entries for the images of ``split``, crowd regions included."""
    document = json.loads(split.annotation.read_bytes())
    wanted = set(split.image_ids)
    boxes = [
        _annotation(item["image_id"], item["category_id"], item["bbox"], item.get("area"), item.get("iscrowd", 0))
        for item in document["annotations"]
        if item["image_id"] in wanted
    ]
    numbered = [{**box, "id": number} for number, box in enumerate(boxes, start=1)]  # id 0 would mean "no match"
    return _index([{"id": i} for i in split.image_ids], [{"id": c} for c in split.category_ids], numbered)


def _annotation(
    image: int, category: int, box: Sequence[float], area: float | None = None, crowd: int = 0, **more: float
) -> dict[str, Any]:
    area = box[2] * box[3] if area is None else area
    return {"image_id": image, "category_id": category, "bbox": list(box), "area": area, "iscrowd": int(crowd), **more}


def _index(images: Sequence[Any], categories: Sequence[Any], annotations: Sequence[Any]) -> COCO:
    coco = COCO()
    coco.dataset = {"images": images, "categories": categories, "annotations": annotations}
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
    return coco
