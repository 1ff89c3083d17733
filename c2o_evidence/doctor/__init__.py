"""`c2o doctor`: what this machine and environment can do, and what to do about each thing that is missing."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from c2o_evidence.doctor.datasets import dataset_checks
from c2o_evidence.doctor.gpus import gpu_checks
from c2o_evidence.doctor.machine import machine_checks
from c2o_evidence.doctor.optional import optional_checks
from c2o_evidence.doctor.probe import probe_torch
from c2o_evidence.doctor.report import Check, Report, render
from c2o_evidence.doctor.versions import version_checks

__all__ = ["Check", "Report", "collect", "render"]


def collect(
    root: Path | None = None,
    environ: Mapping[str, str] | None = None,
    probe: Callable[[], Mapping[str, Any]] = probe_torch,
) -> Report:
    """Look at everything; takes seconds, because the probe imports torch.

    Args:
        root: the checkout; by default the one that holds this file.
        environ: where DETECTRON2_DATASETS, EXTRA_COCO_DATASETS and the lists of GPUs are looked up; by default the
            process's.
        probe: answers for torch and Detectron2 (see `probe_torch`).
    """
    root = root or Path(__file__).resolve().parent.parent.parent
    environ = os.environ if environ is None else environ
    found = probe()
    return Report(
        (
            *version_checks(root, found),
            *machine_checks(root, found),
            *gpu_checks(environ),
            *dataset_checks(root, environ),
            *optional_checks(found),
        )
    )
