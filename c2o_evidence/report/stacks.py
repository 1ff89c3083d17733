"""The table of stacks: how far each row that another one has sampled is from the core's."""

from __future__ import annotations

from typing import Any

from c2o_evidence.errors import EvidenceError
from c2o_evidence.records import read_record
from c2o_evidence.report.source import Source
from c2o_evidence.suite_stack import CORE, PARITY, gap
from c2o_evidence.tsv import read_tsv


def stacks(source: Source) -> list[dict[str, Any]]:
    """A line a row of another stack that has one of the core beside it."""
    if not source.suite.parity or not source.has(PARITY):
        return []
    return [
        row
        | {
            "label": source.labels.get(row["exp_id"], row["exp_id"]),
            "beside": source.labels.get(row["core"], row["core"]),
            "evidence": source.anchor("row", row["exp_id"]),
            "score": gap(row["max_score_diff"]),
            "box": gap(row["max_box_diff"]),
            "ap": gap(row["max_AP_diff"]),
        }
        for row in read_tsv(source.base / PARITY, "parity")
    ]


def sampled_by(source: Source, exp_id: str, results: str) -> str:
    """In which stack a row was sampled, as the record beside `results` says it; empty for the core."""
    if source.suite.row(exp_id).stack == CORE:
        return ""
    try:
        return read_record((source.base / results).with_name("record.json")).sampled_by(exp_id)
    except EvidenceError:
        return ""
