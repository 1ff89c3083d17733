"""The ablation matrix: what each arm of a suite is against its control, metric by metric, with interval and verdict."""

from __future__ import annotations

import math
from typing import Any

from c2o_evidence import stats
from c2o_evidence.report.source import Source
from c2o_evidence.tables import text
from c2o_evidence.tables.rows import by_row, runs_of

METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl")
SHORT = {"yes": "higher", "no": "lower", "undecided": "not distinguishable"}
SIGNS = {"yes": "▲", "no": "▼", "undecided": "○"}


def matrix(source: Source) -> dict[str, Any] | None:
    """Arms by metric; None where the suite compares nothing."""
    if not source.comparisons:
        return None
    groups = by_row(source.runs)
    arms = []
    for row in source.comparisons:
        cells = []
        for metric in METRICS:
            if metric == "AP":
                found = (row["mean_diff"], row["ci95_low"], row["ci95_high"], row["p_value"], row["holds"])
            else:
                a, b = (runs_of(groups.get(name, []), name, metric) for name in (row["a"], row["b"]))
                test = stats.paired_t(a, b)
                found = (test.mean_diff, test.ci_low, test.ci_high, test.p, test.verdict)
            cells.append(_cell(*found))
        arms.append(
            {
                "arm": source.labels.get(row["a"], row["a"]),
                "control": source.labels.get(row["b"], row["b"]),
                "a": row["a"],
                "b": row["b"],
                "n": row["n_pairs"],
                "cells": cells,
                "evidence": source.compared(row),
            }
        )
    kept = [index for index in range(len(METRICS)) if any(arm["cells"][index]["known"] for arm in arms)]
    for arm in arms:
        arm["cells"] = [arm["cells"][index] for index in kept]
    return {"metrics": [METRICS[index] for index in kept], "arms": arms}


def _cell(difference: float, low: float, high: float, p: float, holds: str) -> dict[str, Any]:
    tested = math.isfinite(low)
    state = holds if tested and holds in SHORT else "undecided"
    return {
        "known": math.isfinite(difference),
        "value": difference,
        "difference": text.signed(difference),
        "interval": f"{text.signed(low)} to {text.signed(high)}" if tested else "",
        "p": text.p_value(p),
        "state": state,
        "sign": SIGNS[state] if math.isfinite(difference) else "",
        "verdict": SHORT[state] if tested else "cannot be tested",
    }
