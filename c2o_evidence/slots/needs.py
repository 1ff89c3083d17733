"""How many devices a job needs, from the configuration of what it works on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from c2o_evidence.errors import SlotError
from c2o_evidence.suite_parts import sharing

if TYPE_CHECKING:
    from c2o_evidence.suite import Suite


def devices_needed(suite: Suite, experiment: str | None = None, most: int | None = None) -> int:
    """Devices of a training or an evaluation of an experiment; without one, of the timing of all rows, one process.

    Args:
        most: devices or processes that there are; with fewer than the experiment has `processes`, the largest number
            that divides them. The number is never 0 where any is needed.

    Raises:
        SlotError: MODEL.DEVICE names one device of several.
        SuiteError: as `Suite.recipe`.
    """
    if experiment is None:
        return max((min(1, devices_needed(suite, name)) for name in suite.evaluated), default=0)
    device = device_of(suite.recipe(experiment, suite.seeds_of(experiment)[0]).config)
    if device.partition(":")[0] != "cuda":
        return 0
    if device not in ("cuda", "cuda:0"):
        raise SlotError(
            f"{suite.path}: {experiment}: MODEL.DEVICE: {device!r} names one device; write cuda, each job gets its own"
        )
    parts = suite.experiment(experiment).processes
    return sharing(parts, parts if most is None else max(1, most))


def device_of(config: Mapping[str, Any]) -> str:
    """MODEL.DEVICE of a merged configuration; `cpu` where it says nothing, as in c2o_model/config.py."""
    return str(config.get("MODEL", {}).get("DEVICE", "cpu"))


def devices_of_gres(gres: str) -> int:
    """GPUs in a generic resource of SLURM: 2 in `gpu:2` and `gpu:a100:2`, 1 in `gpu` and `gpu:a100`, 0 in others."""
    name, *rest = gres.split(":")
    if name != "gpu":
        return 0
    return int(rest[-1]) if rest and rest[-1].isdecimal() else 1
