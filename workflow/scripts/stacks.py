"""Rows of stacks other than the core: sampled by the stack's own `evaluate`, and named in the record."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module, metadata
from typing import Any

from c2o_evidence.errors import SuiteError
from c2o_evidence.suite import Suite
from c2o_evidence.suite_stack import STACKS, lacking, others
from c2o_model.config import config_from_dict
from c2o_model.data.coco import load_manifest_split
from c2o_model.evaluation.run import RunDetections
from c2o_model.evaluation.shared import Evaluation


def evaluate_in(stack: str, evaluation: Evaluation) -> Iterator[RunDetections]:
    """As `c2o_model.evaluation.run.evaluate`, in one process.

    Raises:
        SuiteError: a package of the stack is not installed.
    """
    if fault := lacking([stack]):
        raise SuiteError(fault)
    cfg, split = config_from_dict(evaluation.config), load_manifest_split(evaluation.data, "val")
    evaluate = import_module(STACKS[stack].module).evaluate
    yield from evaluate(cfg, evaluation.checkpoint, split, evaluation.rows, evaluation.eval_seeds)


def stacks_of(suite: Suite, experiment: str) -> dict[str, Any]:
    """What the record says of other stacks: their rows, what decided them, the versions at work. Empty without."""
    rows = suite.rows_of(experiment)
    found = {
        stack: {
            "rows": [row.exp_id for row in rows if row.stack == stack],
            "sha256": suite.stack_digest(stack),
            "versions": {name: metadata.version(name) for name in STACKS[stack].packages},
        }
        for stack in others(rows)
    }
    return {"stacks": found} if found else {}
