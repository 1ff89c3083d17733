"""A Hugging Face model card of a bundle: YAML front matter with a model-index, then what a user must know.

The front matter follows the Hub's model card metadata (huggingface_hub.ModelCardData; `model-index` as Papers with Code
defined it): one model, one result a row of the suite, metrics with the number of runs and their spread as arguments.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from c2o_evidence.publish.source import Source
from c2o_evidence.report import render_template

METRICS = {"mean_AP": "AP (COCO, IoU 0.50:0.95)", "mean_AP50": "AP50 (COCO)", "mean_AP75": "AP75 (COCO)"}
LICENCE = "apache-2.0"


def _result(source: Source, row: Mapping[str, Any]) -> dict[str, Any]:
    metrics = []
    for key, name in METRICS.items():
        if math.isnan(row[key]):
            continue  # undefined is left out: the format knows no nan
        arguments: dict[str, Any] = {"n_runs": row["n_runs"], "n_train_seeds": row["n_train_seeds"], "scale": 100}
        if key == "mean_AP":
            arguments |= {"std_pop": row["std_AP_pop"], "ci95": [row["ci95_low"], row["ci95_high"]]}
            arguments = {k: v for k, v in arguments.items() if not _undefined(v)}
        metrics.append({"type": key.removeprefix("mean_"), "value": row[key], "name": name, "args": arguments})
    return {
        "task": {"type": "object-detection", "name": row["label"]},
        "dataset": {
            "type": source.suite.data_name,
            "name": source.suite.data_name,
            # The Hub takes results with the same task, dataset, config, split and revision for one, and would put the
            # metrics of all rows under the first row's name.
            "config": row["exp_id"],
            "split": "val",
            "revision": source.dataset_sha256,
            # The format has no field for who verified a number by what: the digest of all evidence goes with the row.
            "args": {"exp_id": row["exp_id"], "sample_step": row["sample_step"], "root_sha256": source.root_digest},
        },
        "metrics": metrics,
    }


def _undefined(value: Any) -> bool:
    values = value if isinstance(value, list) else [value]
    return any(isinstance(item, float) and math.isnan(item) for item in values)


def front_matter(source: Source, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The metadata of the card as plain data."""
    return {
        "license": LICENCE,
        "library_name": "c2o",
        "pipeline_tag": "object-detection",
        "tags": ["object-detection", "diffusion", "detectron2", "reproducibility"],
        "model-index": [{"name": source.suite.name, "results": [_result(source, row) for row in rows]}],
    }


def model_card(source: Source, exp_ids: Sequence[str] = ()) -> str:
    """The card of a bundle, or of some of its rows.

    Raises:
        SuiteError: there is no row of that name.
    """
    for exp_id in exp_ids:
        source.suite.row(exp_id)
    rows = [row for row in source.summary if not exp_ids or row["exp_id"] in exp_ids]
    chosen = {row["exp_id"] for row in rows}
    metadata = yaml.safe_dump(front_matter(source, rows), sort_keys=False, allow_unicode=True, width=100)
    from c2o_evidence.tables import text

    checkpoints = {row["ckpt_path"]: row for row in source.manifest if row["exp_id"] in chosen}
    return render_template(
        "model_card.md.j2",
        front=metadata,
        title=text.markdown_escape(source.suite.title or source.suite.name),
        name=source.suite.name,
        description=text.markdown_escape(source.suite.description.strip()),
        root=source.root_digest,
        data=source.suite.data_name,
        dataset_sha256=source.dataset_sha256,
        n_train=len(source.suite.train_seeds),
        n_eval=len(source.suite.eval_seeds),
        rows=[
            {
                "label": text.markdown_escape(text.marked(row, row["label"])),
                "exp_id": row["exp_id"],
                "steps": row["sample_step"],
                "runs": row["n_runs"],
                "ap": text.with_deviation(row),
                "interval": text.interval(row),
                "ap50": text.number(row["mean_AP50"]),
                "ap75": text.number(row["mean_AP75"]),
            }
            for row in rows
        ],
        comparisons=[
            {
                "claim": text.markdown_escape(row["claim"] or f"{row['a']} > {row['b']}"),
                "difference": text.signed(row["mean_diff"]),
                "interval": f"{text.signed(row['ci95_low'])} to {text.signed(row['ci95_high'])}",
                "verdict": {"yes": "shown", "no": "the other way round"}.get(row["holds"], "not distinguishable"),
            }
            for row in source.comparisons
            if {row["a"], row["b"]} <= chosen
        ],
        checkpoints=[{"path": path, "sha256": row["ckpt_sha256"]} for path, row in sorted(checkpoints.items())],
        notes=text.selection_notes(rows),
    )
