"""From a number to what stands behind it: runs, results files, checkpoints with their digests, commands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from c2o_evidence import stats
from c2o_evidence.report.source import Source, claim_of
from c2o_evidence.report.stacks import sampled_by
from c2o_evidence.tables import text, verdict
from c2o_evidence.tables.rows import runs_of

Row = Mapping[str, Any]


def commands(source: Source) -> list[dict[str, str]]:
    """How to check all of a suite, weakest first."""
    if not source.frozen:
        name = source.suite.name
        return [
            {"text": f"c2o run {name}", "note": "makes what is missing, and freezes it, so that it can be verified"},
            {"text": f"c2o show {name}", "note": "the tables on a terminal"},
        ]
    found = [
        {
            "text": f"c2o verify {source.place} --level tables",
            "note": "every cell again, AP from the stored detections",
        },
        {"text": f"python3 {source.place}/verify.py", "note": "bare Python: files, checkpoint digests, means"},
    ]
    if source.suite.rows:
        note = "the frozen checkpoints evaluated again, run by run"
        found.append({"text": f"c2o verify {source.place} --level eval", "note": note})
    return found


def row_evidence(source: Source) -> list[dict[str, Any]]:
    """The evidence of each row of the summary."""
    manifest: dict[str, list[Row]] = {}
    for item in source.manifest:
        manifest.setdefault(item["exp_id"], []).append(item)
    runs: dict[str, dict[int, list[Row]]] = {}
    for run in source.runs:
        runs.setdefault(run["exp_name"], {}).setdefault(run["train_seed"], []).append(run)
    found = []
    for row in source.summary:
        exp_id = row["exp_id"]
        found.append(
            {
                "id": source.anchor("row", exp_id),
                "exp_id": exp_id,
                "label": row["label"],
                "ap": text.with_deviation(row),
                "full": repr(row["mean_AP"]),
                "interval": text.interval(row),
                "runs": row["n_runs"],
                "n_train": row["n_train_seeds"],
                "n_eval": row["n_eval_seeds"],
                "stack": next(
                    (sampled_by(source, exp_id, item["results_tsv"]) for item in manifest.get(exp_id, [])), ""
                ),
                "seeds": [
                    _seed(source, item, runs.get(exp_id, {}).get(item["train_seed"], []))
                    for item in manifest.get(exp_id, [])
                ],
                "show": f"c2o show {source.suite.name}:{exp_id}",
            }
        )
    return found


def _seed(source: Source, item: Row, runs: list[Row]) -> dict[str, Any]:
    seed = item["train_seed"]
    show = f"c2o show {source.suite.name}:{item['exp_id']}:{seed}"
    return {
        "seed": seed,
        "ap": text.with_deviation(item),
        "runs": [
            {"seed": run["eval_seed"], "ap": text.number(run["AP"]), "show": f"{show}:{run['eval_seed']}"}
            for run in sorted(runs, key=lambda run: run["eval_seed"])
        ],
        "path": item["ckpt_path"],
        "sha256": item["ckpt_sha256"],
        "results": item["results_tsv"],
        "results_sha256": item["results_sha256"],
        "detections": item["detections"],
        "detections_sha256": item["detections_sha256"],
        "config_sha256": item["config_sha256"],
        "show": f"{show}:{min((run['eval_seed'] for run in runs), default=0)}",
    }


def comparison_evidence(source: Source) -> list[dict[str, Any]]:
    """The evidence of each comparison: the difference of each train seed."""
    found = []
    for row in source.comparisons:
        a, b = (runs_of(source.runs, name) for name in (row["a"], row["b"]))
        seeds = [
            {
                "seed": seed,
                "a": text.number(stats.mean(a[seed])),
                "b": text.number(stats.mean(b[seed])),
                "difference": text.signed(stats.mean(a[seed]) - stats.mean(b[seed])),
            }
            for seed in sorted(set(a) & set(b))
        ]
        found.append(
            {
                "id": source.compared(row),
                "claim": claim_of(row),
                "a": row["a"],
                "b": row["b"],
                "label_a": source.labels.get(row["a"], row["a"]),
                "label_b": source.labels.get(row["b"], row["b"]),
                "row_a": source.anchor("row", row["a"]),
                "row_b": source.anchor("row", row["b"]),
                "difference": text.signed(row["mean_diff"]),
                "interval": f"{text.signed(row['ci95_low'])} to {text.signed(row['ci95_high'])}",
                "p": text.p_value(row["p_value"]),
                "verdict": verdict(row),
                "refused": row["refused"] or "",
                "seeds": seeds,
            }
        )
    return found


def timing_evidence(source: Source) -> list[dict[str, Any]]:
    """The evidence of each timed row."""
    return [
        {
            "id": source.anchor("timing", row["exp_id"]),
            "exp_id": row["exp_id"],
            "label": source.labels.get(row["exp_id"], row["exp_id"]),
            "seconds": repr(row["inference_s_per_img"]),
            "low": text.number(row["inference_s_per_img_min"] * 1000, 1),
            "high": text.number(row["inference_s_per_img_max"] * 1000, 1),
            "warmup": row["warmup"],
            "repeats": row["repeats"],
            "images": row["images"],
            "hardware": row["hardware"],
            "hardware_id": row["hardware_id"],
            "path": row["ckpt_path"],
            "sha256": row["ckpt_sha256"],
        }
        for row in source.timing
    ]
