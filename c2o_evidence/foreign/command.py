"""`c2o stats`: reads results files, checks them, and prints their statistics or a comparison."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from c2o_evidence.errors import EvidenceError
from c2o_evidence.foreign import present
from c2o_evidence.foreign.checks import check_runs, scale_of
from c2o_evidence.foreign.compare import are_files, compare, pairs
from c2o_evidence.foreign.reader import read_foreign
from c2o_evidence.foreign.summary import summarise
from c2o_evidence.verify.findings import Finding

SHOWN = 50


@dataclass(frozen=True)
class Request:
    """What was typed."""

    files: tuple[str, ...]
    metrics: tuple[str, ...] = ("AP",)
    by: str | None = None
    scale: str | None = None
    interval: str = "t"
    pair: tuple[str, str] | None = None
    test: str = "auto"
    form: str = "text"  # text, json or markdown


def stats_command(request: Request) -> int:
    """Prints what was asked for; 1 if the rows contradict each other. Raises EvidenceError for what is refused."""
    files = list(request.files)
    by_file = request.pair is not None and are_files(*request.pair)
    if by_file and request.pair is not None:
        files += [name for name in request.pair if name not in files]
    if not files and request.pair is not None:
        lacking = " and ".join(repr(name) for name in request.pair if not Path(name).is_file())
        raise EvidenceError(
            f"--compare: no file {lacking} here; give two files, or the results file that has both exp_names: "
            "c2o stats results.tsv --compare A B"
        )
    if not files:
        raise EvidenceError("no file is named; give results files with a column AP, e.g. c2o stats results.tsv")
    found = read_foreign(files, request.metrics)
    # Two files that are set against each other may hold the same experiment: each is checked for itself.
    parts = [[run for run in found.runs if run.file == name] for name in files] if by_file else [found.runs]
    findings = [finding for part in parts for finding in check_runs(part)]
    if findings:
        _print_findings(findings, request.form)
        return 1
    scale = scale_of(found.runs, request.scale)
    if request.pair is not None:
        sides = pairs(found.runs, *request.pair)
        items = [compare(*side, metric, request.test) for side in sides for metric in request.metrics]
        lines = [line for item in items for line in present.comparison_lines(item, scale)]
        _print({"files": files, "scale": scale, "comparisons": items}, [], lines, request.form)
        return 0
    groups = {metric: summarise(found, metric, request.interval) for metric in request.metrics}
    tables = []
    for metric, rows in groups.items():
        tables.append(present.summary_table(rows, metric, scale))
        if request.by == "train_seed":
            tables += [present.seeds_table(row, scale) for row in rows if row["train_seeds"]]
    lines = [
        *present.notes(groups[request.metrics[0]]),
        _about_scale(found.runs, scale, stated=request.scale is not None),
    ]
    rows = [row for members in groups.values() for row in members]
    _print({"files": files, "scale": scale, "groups": rows}, tables, lines, request.form)
    return 0


def _about_scale(runs: Sequence[Any], scale: str, *, stated: bool) -> str:
    values = [run.values["AP"] for run in runs]
    how = "as stated" if stated else "as seen"
    return f"AP is on the scale {scale}, {how}: {min(values):g} to {max(values):g} in {len(values)} runs"


def _print_findings(findings: Sequence[Finding], form: str) -> None:
    if form == "json":
        print(present.to_json({"consistent": False, "findings": [asdict(finding) for finding in findings]}))
        return
    lines = [str(finding) for finding in findings[:SHOWN]]
    more = f" ({len(findings) - SHOWN} more: --json lists all)" if len(findings) > SHOWN else ""
    print(
        "\n".join(
            [*lines, f"FAILED: the rows contradict each other in {len(findings)} places{more}; nothing was computed"]
        )
    )


def _print(document: dict[str, Any], tables: Sequence[present.Table], lines: Sequence[str], form: str) -> None:
    if form == "json":
        print(present.to_json({"consistent": True} | document))
    elif form == "markdown":
        print(present.markdown(tables, lines))
    elif sys.stdout.isatty():
        present.print_rich(tables, lines)
    else:
        print(present.plain(tables, lines))
