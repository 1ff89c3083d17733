"""Evaluation by MMDetection: mmengine's test loop over a split, one pass for every row and eval seed.

Called by the workflow's evaluate rule for rows with ``stack: mmdet``. The checkpoint is C2O's; it is converted.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detectron2.config import CfgNode

from c2o_model.checkpoint import CheckpointError, read_checkpoint
from c2o_model.config import ConfigError
from c2o_model.data.coco import CocoSplit
from c2o_model.evaluation.run import EvalRow, RunDetections

if TYPE_CHECKING:
    from c2o_model.mmdet3.detector import C2OGND


def evaluate(
    cfg: CfgNode,
    checkpoint: Path,
    split: CocoSplit,
    rows: Sequence[EvalRow],
    eval_seeds: Sequence[int],
    batch_size: int = 8,
) -> Iterator[RunDetections]:
    """Sample every row with every eval seed on every image of ``split``.

    Yields as :func:`c2o_model.evaluation.run.evaluate`. Every run is a test epoch of its own and computes the pyramids
    anew.

    Raises:
        CheckpointError: the file is missing, changed, or of another model.
        ConfigError: MMDetection is not installed or cannot express the model, or classes do not fit.
    """
    from c2o_model.mmdet3.launch import need_mmdet

    need_mmdet()
    classes = cfg.MODEL.DiffusionDet.NUM_CLASSES
    if classes != len(split.class_names):
        raise ConfigError(
            f"MODEL.DiffusionDet.NUM_CLASSES: {classes}, but {split.annotation} has {len(split.class_names)} classes"
        )
    settings = [row.settings(cfg) for row in rows]
    model = load_detector(cfg, checkpoint)
    with tempfile.TemporaryDirectory(prefix="c2o-mmdet-") as work:
        runner, hook = _runner(model, cfg, split, batch_size, Path(work))
        for row, chosen in zip(rows, settings, strict=True):
            model.core.settings, hook.name = chosen, row.exp_id
            for seed in eval_seeds:
                model.eval_seed = seed
                runner.test()
                yield hook.runs.pop()


def load_detector(cfg: CfgNode, checkpoint: Path) -> C2OGND:
    """MMDetection's detector of ``cfg`` with the weights of C2O's ``checkpoint`` (digest checked), on its device.

    Raises:
        CheckpointError, ConfigError: as :func:`evaluate`.
    """
    from mmdet.registry import MODELS

    from c2o_model.mmdet3 import detector as _detector  # noqa: F401  (registers C2OGND)
    from c2o_model.mmdet3.convert import to_mmdet
    from c2o_model.mmdet3.from_c2o import model_config

    state, _ = read_checkpoint(checkpoint)
    try:
        converted = to_mmdet(state, cfg)
    except CheckpointError as error:
        raise CheckpointError(f"{checkpoint}: {error}") from None
    model: C2OGND = MODELS.build(model_config(cfg))
    model.load_state_dict(converted)
    return model.to(cfg.MODEL.DEVICE).eval()


def _runner(model: C2OGND, cfg: CfgNode, split: CocoSplit, batch_size: int, work: Path) -> tuple[Any, Any]:
    """A Runner that tests ``model`` on ``split``, and the hook that has the detections."""
    from mmengine.evaluator import Evaluator
    from mmengine.runner import Runner

    from c2o_model.mmdet3.results import C2OResults
    from c2o_model.mmdet3.split import split_loader

    hook = C2OResults(out_dir="")
    runner = Runner(
        model=model,
        work_dir=str(work),
        test_dataloader=split_loader(split, batch_size, cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST),
        test_evaluator=Evaluator([]),  # AP is computed from the detections, by C2O's metrics
        test_cfg={"type": "TestLoop"},
        custom_hooks=[hook],
        default_hooks={"logger": None},
        default_scope="mmdet",
        log_level="WARNING",
        randomness={"seed": 0},
        experiment_name=work.name,
    )
    runner.model.to(cfg.MODEL.DEVICE)  # the Runner has put it where it finds a GPU
    return runner, hook
