"""The detector's sampler as a pipeline of Diffusers, over tuple states (boxes, labels).

The loop is :func:`c2o_model.sampling.sampler.denoise`, whose steps the two schedulers take; its detections are those of
:func:`c2o_model.sampling.sampler.sample`, bit for bit. Source: DiffusionDet (arXiv 2211.09788), algorithm 2.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from numbers import Integral
from pathlib import Path
from typing import Any

import torch
from detectron2.config import CfgNode
from diffusers import DiffusionPipeline
from diffusers.utils import BaseOutput

from c2o_model.config import load_config, typed_config
from c2o_model.data.inference import InferenceBatch
from c2o_model.diffusers.box_scheduler import DDIMBoxScheduler
from c2o_model.diffusers.detector import C2ODetector
from c2o_model.diffusers.images import EncodedBatch, Picture, batches_of, count_of
from c2o_model.diffusers.parts import (
    PARTS,
    box_scheduler_of,
    check_index,
    check_no_code,
    check_parts,
    label_scheduler_of,
)
from c2o_model.diffusers.state import NAMES, Start, State, changed_by
from c2o_model.diffusers.walk import LabelScheduler, ScheduledWalk
from c2o_model.evaluation.run import EvalRow
from c2o_model.sampling.detections import Detections, suppress
from c2o_model.sampling.sampler import denoise
from c2o_model.sampling.steps import NodeState
from c2o_model.settings import Settings

OnStepEnd = Callable[["HybridDiffusionPipeline", int, int, dict[str, Any]], Mapping[str, Any] | None]
After = Callable[[int, int, NodeState], NodeState]
OUTPUT_TYPES = ("pt", "np")
STEP, ETA = "MODEL.DiffusionDet.SAMPLE_STEP", "MODEL.DiffusionDet.SAMPLE_ETA"


@dataclass
class HybridDiffusionOutput(BaseOutput):
    """``detections``: of every picture, for every eval seed, in pixels of the picture as it was given, best first.

    Their fields are tensors, or NumPy arrays with ``output_type="np"``.
    """

    detections: list[list[Detections]]


class HybridDiffusionPipeline(DiffusionPipeline):
    """Pictures in, detections out.

    Args:
        detector: the network.
        box_scheduler: the process of the boxes.
        label_scheduler: that of the labels, or None for a detector without label states.

    Raises:
        ValueError: the schedulers are not of the detector's signal.
    """

    _optional_components = ["label_scheduler"]
    _callback_tensor_inputs = list(NAMES)

    def __init__(
        self, detector: C2ODetector, box_scheduler: DDIMBoxScheduler, label_scheduler: LabelScheduler | None = None
    ) -> None:
        super().__init__()
        check_parts(typed_config(detector.c2o_config()), box_scheduler, label_scheduler)
        self.register_modules(detector=detector, box_scheduler=box_scheduler, label_scheduler=label_scheduler)

    @classmethod
    def from_c2o(cls, config: str | Path | CfgNode, checkpoint: str | Path) -> HybridDiffusionPipeline:
        """The pipeline of a C2O checkpoint (digest checked) and its configuration, on the processor.

        Raises:
            ConfigError, CheckpointError: naming the key or the file.
        """
        cfg = config if isinstance(config, CfgNode) else load_config(config)
        detector, settings = C2ODetector.from_c2o(cfg, checkpoint), typed_config(cfg)
        return cls(detector, box_scheduler_of(settings), label_scheduler_of(settings))

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | os.PathLike[str], **kwargs: Any
    ) -> HybridDiffusionPipeline:
        """What :meth:`save_pretrained` has written, on the processor; nothing is unpickled or fetched.

        ``DiffusionPipeline.from_pretrained`` knows only the pipelines of Diffusers itself, hence this class's.

        Args:
            pretrained_model_name_or_path: a directory. kwargs: as DiffusionPipeline's, e.g. ``box_scheduler=`` to take
                the place of the saved one.

        Raises:
            ValueError: it is no such directory, holds code, or names components that are not C2O's.
        """
        directory = Path(pretrained_model_name_or_path)
        if not (directory / cls.config_name).is_file():
            raise ValueError(
                f"{directory}: no {cls.config_name} there; give a directory that save_pretrained has written, or make "
                "the pipeline with from_c2o"
            )
        check_no_code(directory)
        check_index(directory / cls.config_name, [name for name in PARTS if kwargs.get(name) is None])
        kwargs |= {"use_safetensors": True, "low_cpu_mem_usage": False}
        return super().from_pretrained(directory, **kwargs)

    def encode_images(
        self, images: Picture | Sequence[Picture], image_ids: Sequence[int] | None = None
    ) -> list[EncodedBatch]:
        """The pictures with their feature pyramids, for several calls (``features``); arguments as in the call."""
        cfg = self.detector.c2o_config()
        ids = range(count_of(images)) if image_ids is None else image_ids
        batches = batches_of(images, ids, cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST)
        return [self.encode_batch(batch) for batch in batches]

    @torch.no_grad()
    def encode_batch(self, batch: InferenceBatch) -> EncodedBatch:
        """A batch of the data layer with its feature pyramid."""
        return EncodedBatch(batch, self.detector.model.features(batch.images))

    @torch.no_grad()
    def __call__(
        self,
        images: Picture | Sequence[Picture] | None = None,
        image_ids: Sequence[int] | None = None,
        eval_seeds: int | Sequence[int] | None = None,
        num_inference_steps: int | None = None,
        eta: float | None = None,
        generator: torch.Generator | None = None,
        init_state: State | None = None,
        options: Mapping[str, Any] | None = None,
        features: Sequence[EncodedBatch] | None = None,
        callback_on_step_end: OnStepEnd | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("boxes",),
        output_type: str = "pt",
        return_dict: bool = True,
    ) -> HybridDiffusionOutput | tuple[list[list[Detections]]]:
        """Detect.

        Args:
            images: B pictures, see :func:`c2o_model.diffusers.images.batches_of`; neighbours of one size run together.
            image_ids: B numbers that key the noise, with the eval seed; default 0..B-1.
            eval_seeds: one or S seeds, with each of which every picture is sampled; default 0.
            num_inference_steps: k; default SAMPLE_STEP of ``options``, else that of the configuration.
            eta: default SAMPLE_ETA of ``options``, else that of the box scheduler.
            generator: draws one eval seed, in place of ``eval_seeds``.
            init_state: the nodes to start from, at noise level T-1: boxes [M,N,4] in signal space
                (``box_scheduler.encode`` makes them of pixels), and labels int64 [M,N] with unk = K, a distribution
                [M,N,K+1], or None for all unknown (Gaussian label vectors: [M,N,K+1], or None for noise). M is B, or
                B·S·R with R = SAMPLE_RESTARTS: picture after picture, in each seed after seed.
            options: C2O's test-time keys, e.g. ``{"MODEL.DiffusionDet.BOX_RENEWAL": False}``.
            features: what :meth:`encode_images` returned, in place of ``images`` and ``image_ids``.
            callback_on_step_end: called as ``f(pipeline, step, timestep, tensors)`` after each step of each batch;
                ``boxes`` and ``labels`` in the dict that it returns take the place of the nodes for the next step.
            callback_on_step_end_tensor_inputs: which of boxes [M,N,4] (signal space) and labels [M,N,K+1] it is given.
            output_type: ``pt`` or ``np``.
            return_dict: False returns a tuple.

        Raises:
            ValueError: arguments that exclude one another or do not fit; the message names them.
            ConfigError: ``options`` has a key that is none of test time, or a value out of range.
        """
        names = callback_on_step_end_tensor_inputs
        self._check(images, image_ids, features, names, output_type)
        seeds = _seeds(eval_seeds, generator)
        settings = self._settings(num_inference_steps, eta, options or {})
        encoded = self.encode_images(images, image_ids) if features is None else list(features)
        steps = settings.sampler.sample_step
        pictures = sum(len(one.batch.image_ids) for one in encoded)
        each = len(seeds) * settings.sampler.sample_restarts
        start = None if init_state is None else Start(init_state, self.detector.model, pictures, each)
        found: list[list[Detections]] = []
        with self._sampling_with(settings), self.progress_bar(total=steps * len(encoded)) as bar:

            def after(index: int, t: int, state: NodeState) -> NodeState:
                bar.update()
                if callback_on_step_end is None:
                    return state
                tensors = dict(zip(NAMES, (state.x, state.labels), strict=True))
                returned = callback_on_step_end(self, index, t, {name: tensors[name] for name in names})
                return changed_by(returned, state, self.detector.model)

            for one in encoded:
                found += self._detect(one, seeds, settings, start, len(found), after)
        if output_type == "np":
            found = [[_as_numpy(one) for one in image] for image in found]
        return HybridDiffusionOutput(detections=found) if return_dict else (found,)

    def _detect(
        self,
        one: EncodedBatch,
        seeds: Sequence[int],
        settings: Settings,
        start: Start | None,
        first: int,
        after: After,
    ) -> list[list[Detections]]:
        """The detections of a batch, whose first picture is number ``first`` of the call."""
        sampler, ids = settings.sampler, one.batch.image_ids
        restarts, whwh = sampler.sample_restarts, one.batch.whwh.to(self.detector.model.device)
        keys = [(seed, image, restart) for image in ids for seed in seeds for restart in range(restarts)]
        candidates = denoise(
            self.detector.model,
            one.features,
            whwh.repeat_interleave(len(seeds) * restarts, 0),
            keys,
            sampler,
            start=None if start is None else start.state_of(first, len(ids), keys),
            walk=ScheduledWalk(self.box_scheduler, self.label_scheduler),
            after=after,
        )
        if restarts > 1:
            candidates = candidates.fold(restarts)
        most = self.detector.c2o_config().TEST.DETECTIONS_PER_IMAGE
        found = suppress(candidates, whwh.repeat_interleave(len(seeds), 0), sampler, most)
        s = len(seeds)
        return [
            [replace(d, boxes=one.batch.to_original(i, d.boxes)) for d in found[i * s : (i + 1) * s]]
            for i in range(len(ids))
        ]

    def _check(
        self,
        images: Any,
        image_ids: Sequence[int] | None,
        features: Sequence[EncodedBatch] | None,
        names: Sequence[str],
        output_type: str,
    ) -> None:
        if output_type not in OUTPUT_TYPES:
            raise ValueError(f"output_type: {output_type!r} is none of {', '.join(OUTPUT_TYPES)}")
        if (images is None) == (features is None):
            raise ValueError("images, features: give one of them")
        if features is not None and image_ids is not None:
            raise ValueError("image_ids: `features` have theirs already; leave it out")
        if unknown := [name for name in names if name not in NAMES]:
            raise ValueError(
                f"callback_on_step_end_tensor_inputs: {', '.join(map(repr, unknown))} is none of {', '.join(NAMES)}"
            )
        if self.dtype != torch.float32:
            raise ValueError(f"the detector computes in float32, not in {self.dtype}; load it again")

    def _settings(self, steps: int | None, eta: float | None, options: Mapping[str, Any]) -> Settings:
        """The configuration's values with those of this call, for which the schedulers are set."""
        cfg, given = self.detector.c2o_config(), dict(options)
        if steps is not None:
            given[STEP] = steps
        if eta is not None or ETA not in given:
            given[ETA] = float(self.box_scheduler.config.eta if eta is None else eta)
        steps = given.pop(STEP, typed_config(cfg).sampler.sample_step)
        settings = EvalRow("", steps, tuple(given.items())).settings(cfg)
        for scheduler in (self.box_scheduler, self.label_scheduler):
            if scheduler is not None:
                scheduler.set_timesteps(steps)
        return settings

    @contextmanager
    def _sampling_with(self, settings: Settings) -> Iterator[None]:
        """The detector with other settings, for what scores and guidance read of them."""
        model = self.detector.model
        before, model.settings = model.settings, settings
        try:
            yield
        finally:
            model.settings = before


def _seeds(eval_seeds: int | Sequence[int] | None, generator: torch.Generator | None) -> list[int]:
    if generator is not None:
        if eval_seeds is not None:
            raise ValueError("eval_seeds, generator: give one of them")
        return [int(torch.randint(2**31, (1,), generator=generator, device=generator.device))]
    if eval_seeds is None:
        return [0]
    seeds = [int(eval_seeds)] if isinstance(eval_seeds, Integral) else [int(seed) for seed in eval_seeds]
    if not seeds:
        raise ValueError("eval_seeds: there is none; give at least one")
    return seeds


def _as_numpy(detections: Detections) -> Detections:
    return Detections(*(getattr(detections, field.name).cpu().numpy() for field in fields(detections)))
