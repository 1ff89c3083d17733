"""C2OResults: the hook that hands the detections of a validation or test epoch of mmengine's Runner to C2O.

It writes two files into a directory of its own below the work directory, ``c2o/test`` or ``c2o/val/iter_N``: runs.npz,
the arrays as :func:`c2o_model.evaluation.shared.save_runs` has them, and run.json, which says what they are: checkpoint
and annotation file with their digests, seeds, step count, classes, the digest of the model's configuration. With these
``workflow/scripts/mmdet_results.py`` makes a results TSV, a file of detections and a record.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from mmdet.registry import HOOKS
from mmengine.dist import collect_results
from mmengine.hooks import Hook

from c2o_model.checkpoint import write_file
from c2o_model.evaluation.run import RunDetections
from c2o_model.evaluation.shared import RUNS, save_runs

SCHEMA = "c2o-mmdet-run/1"
INFO = "run.json"
CHECKPOINT = "c2o_checkpoint"  # what the launcher tells the message hub: the file that the weights are from
PACKAGES = ("mmcv", "mmdet", "mmengine", "torch")
Image = tuple[int, Any, Any, Any]  # id, boxes [n,4] xyxy px, scores [n], labels [n]


@HOOKS.register_module()
class C2OResults(Hook):
    """Gathers what a model predicts, image after image, and writes it when the epoch ends.

    Args:
        out_dir: where to write; default: ``c2o`` below the work directory. Empty: nowhere.

    ``runs`` are the runs since the last :meth:`clear`, one an epoch of another name or seed.
    """

    priority = "LOW"

    def __init__(self, out_dir: str | None = None) -> None:
        self.out_dir = out_dir
        self.name = ""  # of the runs that follow; empty: as the loop is called
        self.runs: list[RunDetections] = []
        self._metrics: list[dict[str, float]] = []  # of each run
        self._images: list[Image] = []

    def clear(self) -> None:
        """Forget the runs so far."""
        self.runs.clear()
        self._metrics.clear()

    def before_val_epoch(self, runner: Any) -> None:
        self.clear()  # of another state of the weights
        self._images.clear()

    def before_test_epoch(self, runner: Any) -> None:
        self._images.clear()

    def after_val_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Sequence[Any] | None = None
    ) -> None:
        self._images += map(_of_sample, outputs or ())

    def after_test_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Sequence[Any] | None = None
    ) -> None:
        self._images += map(_of_sample, outputs or ())

    def after_val_epoch(self, runner: Any, metrics: Mapping[str, float] | None = None) -> None:
        self._finish(runner, "val", runner.val_dataloader.dataset, f"val/iter_{runner.iter}", metrics)

    def after_test_epoch(self, runner: Any, metrics: Mapping[str, float] | None = None) -> None:
        self._finish(runner, "test", runner.test_dataloader.dataset, "test", metrics)

    def _finish(self, runner: Any, mode: str, dataset: Any, place: str, metrics: Mapping[str, float] | None) -> None:
        images = collect_results(self._images, len(dataset), "cpu")
        self._images = []
        if images is None:  # another process has them
            return
        model = getattr(runner.model, "module", runner.model)
        self.runs.append(joined(self.name or mode, model.eval_seed, images))
        self._metrics.append({key: float(value) for key, value in (metrics or {}).items()})
        if self.out_dir == "":
            return
        directory = Path(self.out_dir or Path(runner.work_dir) / "c2o") / place
        directory.mkdir(parents=True, exist_ok=True)
        (directory / INFO).unlink(missing_ok=True)  # it says what the other file is
        names = save_runs(directory, self.runs)
        about = {
            **describe(runner, model, dataset),
            "runs": names,
            "metrics": self._metrics,
            "runs_sha256": file_digest(directory / RUNS),
        }
        write_file(directory / INFO, (json.dumps(about, indent=1, sort_keys=True) + "\n").encode())


def joined(name: str, eval_seed: int, images: Sequence[Image]) -> RunDetections:
    """One run from the detections of its images."""
    return RunDetections(
        name,
        eval_seed,
        np.concatenate([np.full(len(scores), i, np.int64) for i, _, scores, _ in images]),
        np.concatenate([boxes.reshape(-1, 4) for _, boxes, _, _ in images]),
        np.concatenate([scores for _, _, scores, _ in images]),
        np.concatenate([labels for _, _, _, labels in images]),
    )


def describe(runner: Any, model: Any, dataset: Any) -> dict[str, Any]:
    """What the runs are, as run.json holds it. Nothing of time or host."""
    checkpoint = runner.cfg.get("load_from") if runner.train_loop is None else _just_saved(runner)
    checkpoint = runner.message_hub.runtime_info.get(CHECKPOINT) or checkpoint
    annotation = getattr(dataset, "ann_file", None)
    return {
        "schema": SCHEMA,
        "sample_step": model.core.settings.sampler.sample_step,
        "train_seed": int(model.train_seed),
        "iteration": int(runner.iter),
        "checkpoint": checkpoint and {"path": str(checkpoint), "sha256": file_digest(Path(checkpoint))},
        "annotation": annotation and {"path": str(annotation), "sha256": file_digest(Path(annotation))},
        "classes": list(getattr(dataset, "metainfo", {}).get("classes", ())),
        "config_sha256": config_digest(runner.cfg["model"]),
        "packages": {name: metadata.version(name) for name in PACKAGES},
    }


def config_digest(model: Mapping[str, Any]) -> str:
    """SHA-256 of the canonical JSON of a model's configuration."""
    text = json.dumps(model, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=list)
    return hashlib.sha256(text.encode()).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _just_saved(runner: Any) -> str | None:
    """The checkpoint of the weights that are being validated, if one has been written."""
    last = runner.message_hub.runtime_info.get("last_ckpt")
    current = {f"epoch_{runner.epoch}.pth", f"iter_{runner.iter}.pth"}
    return last if last and Path(last).name in current and Path(last).is_file() else None


def _of_sample(sample: Any) -> Image:
    found = sample.pred_instances
    return (
        int(sample.img_id),
        found.bboxes.cpu().numpy().astype(np.float32),
        found.scores.cpu().numpy().astype(np.float32),
        found.labels.cpu().numpy().astype(np.int64),
    )
