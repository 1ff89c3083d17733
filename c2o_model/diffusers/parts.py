"""The parts of a pipeline: which schedulers a detector has, what belongs together, and which a file may name."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from c2o_model.diffusers.box_scheduler import DDIMBoxScheduler
from c2o_model.diffusers.gaussian_label_scheduler import GaussianLabelScheduler
from c2o_model.diffusers.label_scheduler import D3PMLabelScheduler
from c2o_model.diffusers.walk import LabelScheduler
from c2o_model.settings import Settings

PARTS = ("detector", "box_scheduler", "label_scheduler")
PACKAGE = __name__.rpartition(".")[0]


def box_scheduler_of(settings: Settings) -> DDIMBoxScheduler:
    """The box process that a configuration describes."""
    aniso = settings.aniso
    xy, w, h = aniso.aniso_noise_sigma_xy, aniso.aniso_noise_sigma_w, aniso.aniso_noise_sigma_h
    return DDIMBoxScheduler(
        num_train_timesteps=settings.diffusion.diffusion_timesteps,
        snr_scale=settings.diffusion.snr_scale,
        eta=settings.sampler.sample_eta,
        noise_sigmas=[xy, xy, w, h] if aniso.aniso_noise else None,
    )


def label_scheduler_of(settings: Settings) -> LabelScheduler | None:
    """The label process that a configuration describes: discrete, Gaussian (LABEL_D3PM off), or None."""
    label, boxes, classes = settings.label, settings.diffusion, settings.head.num_classes
    if not label.label_state:
        return None
    if not label.label_d3pm:
        return GaussianLabelScheduler(classes, boxes.diffusion_timesteps, boxes.snr_scale, settings.sampler.sample_eta)
    return D3PMLabelScheduler(
        num_classes=classes,
        num_train_timesteps=boxes.diffusion_timesteps,
        kernel=label.label_d3pm_kernel,
        keep_schedule=label.keep_prob_schedule,
        keep_power=label.keep_prob_power,
        keep_min=label.keep_prob_min,
        keep_const=label.keep_prob_const,
        use_distribution=label.label_d3pm_use_distribution,
    )


def check_parts(settings: Settings, boxes: DDIMBoxScheduler, labels: LabelScheduler | None) -> None:
    """Refuse schedulers of another signal than the network was trained for; how they walk along it is free.

    Raises:
        ValueError: naming the scheduler, what it has and what the detector needs.
    """
    expected = label_scheduler_of(settings)
    needs, given = (type(one).__name__ if one is not None else "None" for one in (expected, labels))
    if needs != given:
        raise ValueError(f"label_scheduler: {given}, but a detector with these label states needs {needs}")
    pairs = [("box_scheduler", boxes, box_scheduler_of(settings), ("num_train_timesteps", "snr_scale"))]
    if labels is not None:
        scale = ("snr_scale",) if isinstance(labels, GaussianLabelScheduler) else ()
        pairs.append(("label_scheduler", labels, expected, ("num_classes", "num_train_timesteps", *scale)))
    for part, own, wanted, names in pairs:
        for name in names:
            if own.config[name] != wanted.config[name]:
                raise ValueError(f"{part}: {name} is {own.config[name]}, but the detector has {wanted.config[name]}")


def check_no_code(directory: Path) -> None:
    """Refuse a directory with Python files: Diffusers runs one whose name fits, in some versions without being asked.

    Raises:
        ValueError: naming the file.
    """
    for path in sorted([*directory.glob("*.py"), *directory.glob("*/*.py")]):
        raise ValueError(f"{path}: code is not run, and save_pretrained writes none; remove it, or save again")


def check_index(path: Path, names: Sequence[str]) -> None:
    """Refuse a ``model_index.json`` whose components ``names`` are not C2O's: it says which modules are imported.

    Raises:
        ValueError: naming the file and the component.
    """
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: is not JSON ({error}); save the pipeline again") from None
    for name in names:
        found = index.get(name) if isinstance(index, dict) else None
        absent = name == "label_scheduler" and found in (None, [None, None])
        own = isinstance(found, list) and len(found) == 2 and str(found[0]).startswith(f"{PACKAGE}.")
        if not absent and not own:
            raise ValueError(f"{path}: {name}: {found!r} is no component of {PACKAGE}; save the pipeline again")
