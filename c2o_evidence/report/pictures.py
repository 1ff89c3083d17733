"""The figures of a suite by what they show, with captions."""

from __future__ import annotations

from typing import Any

from c2o_evidence.figures import figure_names
from c2o_evidence.report.inline import read_svg
from c2o_evidence.report.source import Source

# Part of the page -> figures in their order; what no part names comes last.
PARTS: dict[str, dict[str, str]] = {
    "runs": {"summary_strip": "AP of every run, a dot each, coloured by train seed; the line is the 95 % interval."},
    "steps": {
        "speed_quality": "Mean AP over speed; the points of one model differ in sampling steps.",
        "ap_over_steps": "Mean AP over the number of sampling steps.",
    },
    "arms": {"comparisons": "Differences of mean AP, paired over train seeds; grey: the 95 % interval holds 0."},
    "spread": {"variance": "How the spread of AP splits between train seeds and eval seeds."},
    "classes": {
        "per_class": "AP by class.",
        "precision_recall": "Precision over recall, mean over runs.",
        "confusion": "What is taken for what.",
        "errors": "Errors an image, by kind.",
    },
    "training": {
        "loss_curves": "Training loss.",
        "ap_curves": "AP during training.",
        "match_curves": "Class accuracy and L1 distance of the nodes matched in training, last stage.",
    },
    "kernels": {
        "attention_cost": "Time and peak memory of the attention kernels that run here, over the number of nodes."
    },
}
CAPTIONS = {name: caption for figures in PARTS.values() for name, caption in figures.items()}


def drawn(source: Source) -> dict[str, list[dict[str, Any]]]:
    """The figures that are there, by part of the page. Raises EvidenceError, OSError."""
    from markupsafe import Markup

    there = [name for name in figure_names(source.suite) if source.has(f"figures/{name}.svg")]
    parts: dict[str, list[dict[str, Any]]] = {part: [] for part in (*PARTS, "more")}
    order = list(CAPTIONS)
    for name in sorted(there, key=lambda name: (order.index(name) if name in order else len(order), name)):
        part = next((part for part, figures in PARTS.items() if name in figures), "more")
        svg = read_svg(source.base, name, f"{source.prefix}{name}-", lambda gid: _named(source, gid))
        parts[part].append(
            {
                "name": name,
                "svg": Markup(svg),  # noqa: S704  taken apart, checked and written again by inline_svg
                "caption": CAPTIONS.get(name, name.replace("_", " ").capitalize() + "."),
                "files": [f"figures/{name}.{kind}" for kind in ("svg", "pdf", "png") if source.has(f"figures/{name}.{kind}")],
            }
        )
    return parts


def _named(source: Source, gid: str) -> str:
    """What a mark shows, in words."""
    kind, *rest = gid.split(":")
    label = source.labels.get(rest[0], rest[0])
    if kind == "run" and len(rest) == 3:
        run = next((r for r in source.runs if [r["exp_name"], str(r["train_seed"]), str(r["eval_seed"])] == rest), None)
        value = f": AP {run['AP']:.2f}" if run else ""
        return f"{label}, train seed {rest[1]}, eval seed {rest[2]}{value}"
    if kind == "row":
        row = next((row for row in source.summary if row["exp_id"] == rest[0]), None)
        if row is None:
            return label
        speed = f", {row['inference_fps']:.1f} FPS" if row["inference_fps"] == row["inference_fps"] else ""
        return f"{label}: AP {row['mean_AP']:.2f} ± {row['std_AP_pop']:.2f}{speed}"
    return f"{label}, train seed {rest[1]}" if len(rest) > 1 else label
