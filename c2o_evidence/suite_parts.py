"""Into how many parts a training splits each batch: `processes` of its experiment.

Part of the recipe, since a sum over parts rounds otherwise than one pass over the batch. How many processes really
work on them is not: with fewer than parts, each takes several in turn (docs/training.md, "Processes").
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from c2o_evidence.errors import SuiteError

KEYS = ("IMS_PER_BATCH", "ACCUMULATE_STEPS")


def sharing(parts: int, most: int) -> int:
    """How many processes (or devices) work on the parts of a batch: as many as parts, or the most that divide them.

    most: as there are, 1 or more.
    """
    return next(number for number in range(min(most, parts), 0, -1) if parts % number == 0)


def check_parts(config: Mapping[str, Any], processes: int, where: str) -> None:
    """Refuse parts that are not equal, as far as the configuration names the batch; the training sees the rest.

    Args:
        config: merged configuration; processes: above 1; where: `FILE: KEY` of the experiment.

    Raises:
        SuiteError: the batch is no multiple of the parts.
    """
    solver = config.get("SOLVER")
    batch, micro = (solver.get(key) for key in KEYS) if isinstance(solver, Mapping) else (None, None)
    micro = micro if isinstance(micro, int) else 1
    if isinstance(batch, int) and batch % (processes * micro):
        each = f" with {micro} micro-batches each (SOLVER.ACCUMULATE_STEPS)" if micro > 1 else ""
        raise SuiteError(
            f"{where}.processes: {processes} processes{each} cannot share SOLVER.IMS_PER_BATCH {batch} evenly; use a "
            "divisor of it"
        )
