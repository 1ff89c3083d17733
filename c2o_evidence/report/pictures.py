"""The figures of a suite by what they show, with captions."""

from __future__ import annotations

import math
from typing import Any

from c2o_evidence.extent import Extent
from c2o_evidence.figures import figure_names
from c2o_evidence.report.inline import read_svg
from c2o_evidence.report.source import Source
from c2o_evidence.tables import text, verdict

# Part of the page -> figures in their order; what no part names comes last.
PARTS: dict[str, dict[str, str]] = {
    "runs": {"summary_strip": "AP of every run, a dot each, coloured by train seed; the line is the 95 % interval."},
    "steps": {
        "speed_quality": "Mean AP over images a second; the number beside a point is its sampling steps.",
        "ap_over_steps": "Mean AP over the number of sampling steps.",
    },
    "arms": {"comparisons": "Differences of mean AP, paired over train seeds; grey: the 95 % interval holds 0."},
    "spread": {"variance_split": "How the spread of AP splits between train seeds and eval seeds."},
    "classes": {
        "per_class": "AP by class.",
        "precision_recall": "Precision over recall, mean over runs.",
        "error_types": "Errors an image, by kind.",
    },
    "training": {
        "loss_curves": "Training loss.",
        "ap_curves": "AP during training: 1 step, one eval seed, the first TEST.EVAL_IMAGES images of val.",
        "match_curves": "Class accuracy and L1 distance of the nodes matched in training, last stage.",
    },
    "kernels": {
        "attention_cost": "Time and peak memory of the attention kernels that run here, over the number of nodes."
    },
}
LEFT_OUT = ("confusion",)  # the page has its table
CAPTIONS = {name: caption for figures in PARTS.values() for name, caption in figures.items()}


def drawn(source: Source) -> dict[str, list[dict[str, Any]]]:
    """The figures that are there, by part of the page. Raises EvidenceError, OSError."""
    from markupsafe import Markup

    names = _Names(source)
    known = [name for name in figure_names(source.suite, Extent(ap_curves=True)) if name not in LEFT_OUT]
    there = [name for name in known if source.has(f"figures/{name}.svg")]
    parts: dict[str, list[dict[str, Any]]] = {part: [] for part in (*PARTS, "more")}
    order = list(CAPTIONS)
    for name in sorted(there, key=lambda name: (order.index(name) if name in order else len(order), name)):
        part = next((part for part, figures in PARTS.items() if name in figures), "more")
        svg = read_svg(source.base, name, f"{source.prefix}{name}-", names)
        parts[part].append(
            {
                "name": name,
                "svg": Markup(svg),  # noqa: S704  taken apart, checked and written again by inline_svg
                "caption": CAPTIONS.get(name, name.replace("_", " ").capitalize() + "."),
                "kinds": [kind for kind in ("svg", "pdf", "png") if source.has(f"figures/{name}.{kind}")],
            }
        )
    return parts


class _Names:
    """What the marks of a figure show, in words."""

    def __init__(self, source: Source) -> None:
        self.labels = source.labels
        self.runs = {(r["exp_name"], str(r["train_seed"]), str(r["eval_seed"])): r["AP"] for r in source.runs}
        self.rows = {row["exp_id"]: row for row in source.summary}
        self.comparisons = {(row["a"], row["b"]): row for row in source.comparisons}

    def __call__(self, gid: str) -> str:
        kind, first, *rest = gid.split(":")
        label = self.labels.get(first, first)
        if kind == "run" and len(rest) == 2:
            value = self.runs.get((first, rest[0], rest[1]))
            told = "" if value is None else f": AP {text.number(value)}"
            return f"{label}, train seed {rest[0]}, eval seed {rest[1]}{told}"
        if kind == "comparison" and (first, *rest) in self.comparisons:
            row = self.comparisons[first, rest[0]]
            return f"{label} − {self.labels.get(rest[0], rest[0])}: {text.signed(row['mean_diff'])}, {verdict(row)}"
        if kind == "curve" and rest:
            return f"{label}, train seed {', '.join(rest)}"
        if kind == "row" and not rest and first in self.rows:
            row = self.rows[first]
            speed = "" if math.isnan(row["inference_fps"]) else f", {row['inference_fps']:.1f} FPS"
            return f"{label}: AP {text.with_deviation(row)}{speed}"
        return ", ".join((label, *rest))
