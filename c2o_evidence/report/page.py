"""The page of one bundle: every part made from its tables, left out where the bundle has nothing for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from c2o_evidence.report import arms, classes, dag, evidence, headline, speed
from c2o_evidence.report.gallery import gallery
from c2o_evidence.report.pictures import drawn
from c2o_evidence.report.readme import description_of
from c2o_evidence.report.render import render_page
from c2o_evidence.report.source import Source
from c2o_evidence.report.stacks import stacks
from c2o_evidence.suite import Suite

# (part, heading), in the order of the page.
PARTS = (
    ("results", "Results"),
    ("arms", "Ablation"),
    ("spread", "Spread"),
    ("speed", "Speed and quality"),
    ("stacks", "Stacks"),
    ("classes", "Classes and errors"),
    ("gallery", "Detections"),
    ("training", "Training"),
    ("timing", "Timing"),
    ("dag", "What starts from what"),
    ("evidence", "Evidence"),
)


def view(source: Source) -> dict[str, Any]:
    """All that the templates show of one suite.

    Raises TableError or EvidenceError if a table or figure is missing or damaged.
    """
    suite = source.suite
    figures, answers = drawn(source), headline.answers(source)
    parts: dict[str, Any] = {
        "rows": headline.rows(source),
        "bars": headline.bars(source),
        "answers": answers,
        "verdict": headline.verdict_of(answers),
        "about": headline.provenance(source),
        "spread": headline.spread(source),
        "matrix": arms.matrix(source),
        "stacks": stacks(source),
        "per_class": classes.per_class(source),
        "confusion": classes.confusion(source),
        "errors": classes.errors(source),
        "gallery": gallery(source),
        "timing": speed.timing(source),
        "kernels": speed.attention(source),
        "dag": dag.drawing(source),
        "row_evidence": evidence.row_evidence(source),
        "comparison_evidence": evidence.comparison_evidence(source),
        "timing_evidence": evidence.timing_evidence(source),
    }
    there = {
        "results": parts["rows"],
        "arms": parts["matrix"] or figures["arms"],
        "spread": parts["spread"] or figures["spread"],
        "speed": figures["steps"],
        "stacks": parts["stacks"],
        "classes": parts["per_class"] or parts["confusion"] or parts["errors"] or figures["classes"],
        "gallery": parts["gallery"],
        "training": figures["training"],
        "timing": parts["timing"] or parts["kernels"] or figures["kernels"] or figures["more"],
        "dag": parts["dag"],
        "evidence": True,
    }
    return {
        "name": suite.name,
        "prefix": source.prefix,
        "title": suite.title or suite.name,
        "description": description_of(suite),
        "has_runs": bool(suite.rows),
        "place": source.place,
        "frozen": source.frozen,
        "commands": evidence.commands(source),
        "refused": sorted({row["refused"] for row in source.comparisons if row["refused"]}),
        "figures": figures,
        "parts": [
            {"part": part, "id": source.anchor(part), "heading": heading} for part, heading in PARTS if there[part]
        ],
        **parts,
    }


def render_report(bundle: Path, suite: Suite) -> str:
    """The page for a bundle with its tables, figures and manifest. The same bundle gives the same text.

    Raises TableError or EvidenceError if a table or figure is missing or damaged, OSError if one cannot be read.
    """
    data = bundle / "data" if suite.rows else None
    source = Source(bundle, suite, data, place=f"deliverables/{suite.name}")
    return render_page("report/page.html.j2", suite=view(source))
