"""Tables by class: AP of each, what is taken for what, and the kinds of error."""

from __future__ import annotations

import math
from typing import Any

from c2o_evidence.analysis import BACKGROUND, MISSED
from c2o_evidence.report.source import Source
from c2o_evidence.tables import text

HEATS = 8
MAX_MATRIX = 24  # classes that a confusion matrix shows; of more, the commonest confusions are listed
MOST_CONFUSED = 40
KINDS = {
    "classification": "right place, wrong class",
    "localisation": "right class, poor box (IoU 0.1 to 0.5)",
    "both": "wrong class and poor box",
    "duplicate": "an object found before",
    "background": "nothing is there",
    "missed": "an object nothing was found for",
}


def heat(value: float, low: float, high: float) -> int:
    """0 to HEATS: how dark a cell is."""
    if not math.isfinite(value) or high <= low:
        return 0
    return round(HEATS * min(1.0, max(0.0, (value - low) / (high - low))))


def per_class(source: Source) -> dict[str, Any] | None:
    """AP by class (rows) and row of the suite (columns); None where results have no such table."""
    rows = source.optional("per_class")
    if not rows:
        return None
    exp_ids = source.known(rows)
    cells = {(row["exp_id"], row["category"]): row for row in rows}
    categories = list(dict.fromkeys(row["category"] for row in rows))
    finite = [row["mean_AP"] for row in rows if math.isfinite(row["mean_AP"])]
    low, high = (min(finite), max(finite)) if finite else (0.0, 1.0)
    lines = []
    for category in categories:
        line = []
        for exp_id in exp_ids:
            row = cells.get((exp_id, category))
            value = row["mean_AP"] if row else math.nan
            known = row is not None and math.isfinite(value)
            line.append(
                {
                    "value": value,
                    "text": text.number(value, 1),
                    "heat": heat(value, low, high),
                    "tip": f"{category}, {source.labels[exp_id]}: AP {text.number(value)}, "
                    f"± {text.number(row['std_AP_pop'])} over {row['n_runs']} runs, 95 % interval {text.interval(row)}"
                    if row is not None and known
                    else "",
                }
            )
        lines.append({"category": category, "cells": line})
    columns = [
        {"exp_id": exp_id, "label": source.labels[exp_id], "evidence": source.anchor("row", exp_id)}
        for exp_id in exp_ids
    ]
    return {"columns": columns, "lines": lines}


def confusion(source: Source) -> list[dict[str, Any]]:
    """A matrix a row of the suite, or the commonest confusions where there are many classes."""
    rows, found = source.optional("confusion"), []
    classes = list(dict.fromkeys(row["category"] for row in source.optional("per_class")))
    for exp_id in source.known(rows):
        own = [row for row in rows if row["exp_id"] == exp_id]
        truths, guesses = (
            [*(classes or sorted({row[side] for row in own} - {last})), last]
            for side, last in (("truth", BACKGROUND), ("predicted", MISSED))
        )
        item: dict[str, Any] = {"exp_id": exp_id, "label": source.labels[exp_id]}
        counts = {(row["truth"], row["predicted"]): row["per_run"] for row in own}
        if len(truths) <= MAX_MATRIX:  # what never happened has no row
            item["predicted"] = guesses
            item["lines"] = [{"truth": truth, "cells": _cells(truth, guesses, counts)} for truth in truths]
        else:
            wrong = sorted((-count, *pair) for pair, count in counts.items() if pair[0] != pair[1] and count > 0)
            item["worst"] = [
                {"truth": truth, "predicted": guess, "count": text.number(-count, 1)}
                for count, truth, guess in wrong[:MOST_CONFUSED]
            ]
        found.append(item)
    return found


def _cells(truth: str, guesses: list[str], counts: dict[tuple[str, str], float]) -> list[dict[str, Any]]:
    line = [counts.get((truth, guess), 0.0) for guess in guesses]
    total = math.fsum(line)
    return [
        {
            "text": text.number(value, 1) if value else "·",
            "heat": heat(value, 0.0, total),
            "right": guess == truth,
            "tip": f"truth {truth}, found {guess}: {value:.1f} a run, {100 * value / total:.0f} % of the row"
            if value
            else "",
        }
        for guess, value in zip(guesses, line, strict=True)
    ]


def errors(source: Source) -> dict[str, Any] | None:
    """Errors an image by kind (columns) and row of the suite; None where results have no such table."""
    rows = source.optional("errors")
    if not rows:
        return None
    kinds = list(dict.fromkeys(row["kind"] for row in rows))
    cells = {(row["exp_id"], row["kind"]): row for row in rows}
    finite = [row["per_image"] for row in rows if math.isfinite(row["per_image"])]
    most = max(finite, default=0.0)
    lines = []
    for exp_id in source.known(rows):
        line = []
        for kind in kinds:
            row = cells.get((exp_id, kind), {"per_image": math.nan, "std_pop": math.nan})
            share = row["per_image"] / most if most > 0 and math.isfinite(row["per_image"]) else 0.0
            line.append(
                {
                    "value": row["per_image"],
                    "text": text.number(row["per_image"]),
                    "deviation": text.number(row["std_pop"]),
                    "width": round(100 * min(1.0, max(0.0, share)), 1),
                }
            )
        lines.append(
            {
                "exp_id": exp_id,
                "label": source.labels[exp_id],
                "cells": line,
                "evidence": source.anchor("row", exp_id),
            }
        )
    return {"kinds": [{"name": kind, "means": KINDS.get(kind, "")} for kind in kinds], "lines": lines}
