# ruff: noqa: E402
"""C2O's detector for users of Diffusers: schedulers, a pipeline, and directories that ``from_pretrained`` loads.

The noise processes, the loop and the network are those of :mod:`c2o_model.diffusion`, :mod:`c2o_model.sampling` and
:mod:`c2o_model.modeling`; here is only what Diffusers needs to hold them. An optional extra: nothing else imports it.
"""

from __future__ import annotations

from importlib.util import find_spec


class MissingExtraError(ImportError):
    """An optional package that is not installed. The message says how to get it."""


if find_spec("diffusers") is None:
    raise MissingExtraError("c2o_model.diffusers needs Diffusers, which is not installed; `make extras` installs it")

from c2o_model.diffusers.box_scheduler import DDIMBoxScheduler, DDIMBoxSchedulerOutput
from c2o_model.diffusers.detector import C2ODetector
from c2o_model.diffusers.gaussian_label_scheduler import GaussianLabelScheduler
from c2o_model.diffusers.label_scheduler import D3PMLabelScheduler, D3PMLabelSchedulerOutput
from c2o_model.diffusers.pipeline import HybridDiffusionOutput, HybridDiffusionPipeline

__all__ = [
    "C2ODetector",
    "D3PMLabelScheduler",
    "D3PMLabelSchedulerOutput",
    "DDIMBoxScheduler",
    "DDIMBoxSchedulerOutput",
    "GaussianLabelScheduler",
    "HybridDiffusionOutput",
    "HybridDiffusionPipeline",
    "MissingExtraError",
]
