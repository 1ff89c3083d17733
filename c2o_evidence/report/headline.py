"""What a reader wants first: what is claimed and whether it holds, the numbers, and where they come from."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from c2o_evidence.report.source import Source, claim_of
from c2o_evidence.tables import text, verdict

Row = Mapping[str, Any]
WORDS = {"yes": "Holds", "no": "Does not hold", "undecided": "Not shown"}


def answers(source: Source) -> list[dict[str, Any]]:
    """A sentence a comparison of the suite: what was claimed, and what the runs say to it."""
    return [
        {
            "state": row["holds"] if row["n_pairs"] > 1 and not math.isnan(row["ci95_low"]) else "undecided",
            "word": WORDS.get(row["holds"], "Not shown") if row["n_pairs"] > 1 else "Cannot be tested",
            "claim": claim_of(row),
            "a": row["a"],
            "b": row["b"],
            "difference": text.signed(row["mean_diff"]),
            "value": row["mean_diff"],
            "interval": _interval(row),
            "p": text.p_value(row["p_value"]),
            "n": row["n_pairs"],
            "verdict": verdict(row),
            "evidence": source.compared(row),
        }
        for row in source.comparisons
    ]


def verdict_of(found: Sequence[Mapping[str, Any]]) -> str:
    """All answers in a sentence."""
    counts = Counter(item["state"] for item in found)
    parts = [f"{counts['yes']} hold" + ("s" if counts["yes"] == 1 else "")]
    if counts["no"]:
        parts.append(f"{counts['no']} " + ("does" if counts["no"] == 1 else "do") + " not hold")
    if counts["undecided"]:
        parts.append(f"{counts['undecided']} " + ("is" if counts["undecided"] == 1 else "are") + " not shown")
    claims = f"{len(found)} claim" + ("s" if len(found) != 1 else "")
    return f"Of {claims}, {', '.join(parts)}."


def _interval(row: Row) -> str:
    if math.isnan(row["ci95_low"]):
        return text.NOTHING
    return f"{text.signed(row['ci95_low'])} to {text.signed(row['ci95_high'])}"


def rows(source: Source) -> list[dict[str, Any]]:
    """The rows of the headline table."""
    return [
        {
            "exp_id": row["exp_id"],
            "label": text.marked(row, row["label"]),
            "selected": f"selected: {row['selected']}" if row.get("selected") else "",
            "steps": row["sample_step"],
            "runs": row["n_runs"],
            "ap": text.with_deviation(row),
            "value": row["mean_AP"],
            "interval": text.interval(row),
            "low": row["ci95_low"],
            "ap50": row["mean_AP50"],
            "ap75": row["mean_AP75"],
            "ms": row["inference_s_per_img"] * 1000,
            "fps": row["inference_fps"],
            "speedup": row["speedup"],
            "evidence": source.anchor("row", row["exp_id"]),
        }
        for row in source.summary
    ]


def bars(source: Source) -> dict[str, Any] | None:
    """Where each mean and its interval lie between the lowest and the highest of the table, in per cent."""
    known = [row for row in source.summary if math.isfinite(row["mean_AP"])]
    if not known:
        return None
    runs = [float(run["AP"]) for run in source.runs if math.isfinite(run["AP"])]
    ends = [float(row["mean_AP"]) for row in known] + runs
    low, high = min(ends), max(ends)
    span = (high - low) or 1.0
    low, high = low - 0.05 * span, high + 0.05 * span

    def place(value: float) -> float:
        return round(100 * min(1.0, max(0.0, (value - low) / (high - low))), 2)

    by_row = {
        row["exp_id"]: {
            "mean": place(row["mean_AP"]),
            "low": place(row["ci95_low"]) if math.isfinite(row["ci95_low"]) else place(row["mean_AP"]),
            "high": place(row["ci95_high"]) if math.isfinite(row["ci95_high"]) else place(row["mean_AP"]),
        }
        for row in known
    }
    return {"rows": by_row, "from": text.number(low, 1), "to": text.number(high, 1)}


def provenance(source: Source) -> dict[str, Any]:
    """How much there is behind the numbers."""
    hardware = sorted({row["hardware"] for row in source.timing if not math.isnan(row["inference_s_per_img"])})
    return {
        "runs": len(source.runs),
        "checkpoints": len({run["ckpt_sha256"] for run in source.runs}),
        "rows": len(source.summary),
        "train_seeds": ", ".join(map(str, source.suite.train_seeds)),
        "eval_seeds": ", ".join(map(str, source.suite.eval_seeds)),
        "dataset": source.suite.data_name,
        "dataset_sha256": ", ".join(sorted({run["dataset_sha256"] for run in source.runs})),
        "code_sha256": ", ".join(sorted({run["code_sha256"] for run in source.runs})),
        "hardware": "; ".join(hardware),
    }


def spread(source: Source) -> list[dict[str, Any]]:
    """How the spread of each row splits between train seeds and eval seeds.

    From tables/variance.tsv; from the summary where results have no such table.
    """
    own = {row["exp_id"]: row for row in source.optional("variance")}
    found = []
    for row in source.summary:
        between, within = row["std_between_train"], row["std_within_eval"]
        share, n_train = math.nan, row["n_train_seeds"]
        if row["exp_id"] in own:
            split = own[row["exp_id"]]
            between, within = math.sqrt(split["var_train"]), math.sqrt(split["var_eval"])
            share, n_train = split["share_train"], split["n_train"]
        elif between * between + within * within > 0:
            share = between * between / (between * between + within * within)
        found.append(
            {
                "label": text.marked(row, row["label"]),
                "exp_id": row["exp_id"],
                "between": between,
                "within": within,
                "share": share,
                "n_train": n_train,
                "runs": row["n_runs"],
                "sample": row["std_AP_sample"],
                "evidence": source.anchor("row", row["exp_id"]),
            }
        )
    return found if any(math.isfinite(item["within"]) for item in found) else []
