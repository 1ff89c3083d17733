"""What a replay found: a verdict for every run, table row and checkpoint, with reasons; as findings and as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from c2o_evidence.suite import Tolerances
from c2o_evidence.verify.findings import Finding
from c2o_evidence.verify.replay.checkpoints import LIKENESSES, CheckpointVerdict
from c2o_evidence.verify.replay.reasons import Reason
from c2o_evidence.verify.replay.verdicts import VERDICTS, Delta, Judged, Verdict


@dataclass(frozen=True)
class RunVerdict:
    """One run of the bundle: `log` is where to look if it could not be replayed."""

    exp_id: str
    experiment: str
    train_seed: int
    eval_seed: int
    judged: Judged
    same_detections: bool = False
    reasons: tuple[Reason, ...] = ()
    log: str = ""

    @property
    def row(self) -> str:
        return f"exp_name={self.exp_id}, train_seed={self.train_seed}, eval_seed={self.eval_seed}"

    @property
    def folder(self) -> str:
        return f"eval/{self.experiment}/seed{self.train_seed}"


@dataclass(frozen=True)
class TableVerdict:
    """One table row: the means over its `n_runs` runs."""

    exp_id: str
    n_runs: int
    judged: Judged


@dataclass
class ReplayResult:
    """The outcome of one replay. `tolerances` are the bundle's own; `room`: where it was kept, if it was."""

    level: str
    tolerances: Tolerances
    runs: list[RunVerdict] = field(default_factory=list)
    tables: list[TableVerdict] = field(default_factory=list)
    checkpoints: list[CheckpointVerdict] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)  # what kept it from being replayed
    seconds: float = 0.0
    room: str = ""

    def counts(self) -> dict[Verdict, int]:
        """Runs of each verdict."""
        found = Counter(run.judged.verdict for run in self.runs)
        return {verdict: found[verdict] for verdict in VERDICTS}

    def all_findings(self) -> Iterator[Finding]:
        """A finding for each run and table row that differs, and for each job that could not be replayed."""
        yield from self.findings
        for run in self.runs:
            if run.judged.verdict == "differs":
                yield _run_finding(run)
            elif run.judged.verdict == "not-replayed":
                message = f"could not be {'trained or ' if self.level == 'train' else ''}evaluated again"
                yield Finding("not-replayed", f"{run.folder}/results.tsv", message, run.row, found=run.log)
        for table in self.tables:
            if table.judged.verdict == "differs":
                yield _finding(table.judged, "tables/summary.tsv", f"exp_id={table.exp_id}", "mean_")

    def reason_counts(self) -> dict[Reason, int]:
        """Every reason with the number of runs that it concerns."""
        return dict(Counter(reason for run in self.runs for reason in run.reasons))

    def to_dict(self) -> dict[str, Any]:
        return {
            "level": self.level,
            "tolerances": asdict(self.tolerances),
            "counts": self.counts(),
            "runs": [_run_dict(run) for run in self.runs],
            "tables": [
                {"exp_id": table.exp_id, "n_runs": table.n_runs, **_judged_dict(table.judged)} for table in self.tables
            ],
            "checkpoints": [asdict(item) for item in self.checkpoints],
            "room": self.room,
            "seconds": round(self.seconds, 3),
        }

    def checkpoint_counts(self) -> dict[str, int]:
        found = Counter(item.verdict for item in self.checkpoints)
        return {likeness: found[likeness] for likeness in LIKENESSES if found[likeness]}


def _run_finding(run: RunVerdict) -> Finding:
    if run.judged.worst is None:
        message = "the detections are others, though the metrics are the same"
        return Finding("not-reproduced", f"{run.folder}/detections.safetensors", message, run.row)
    return _finding(run.judged, f"{run.folder}/results.tsv", run.row, "")


def _finding(judged: Judged, path: str, row: str, prefix: str) -> Finding:
    """Names the metric that is furthest beyond its tolerance."""
    worst = judged.worst
    if worst is None:
        return Finding("not-reproduced", path, "its runs are others, though their means are the same", row)
    beyond = beyond_tolerance(judged.deltas)
    message = f"is {worst.amount:+.4g} away, tolerance {worst.tolerance:g}; {beyond} of its metrics beyond theirs"
    return Finding("not-reproduced", path, message, row, prefix + worst.metric, repr(worst.bundle), repr(worst.here))


def beyond_tolerance(deltas: Sequence[Delta]) -> int:
    """How many metrics are further away than they may be."""
    return sum(not delta.within for delta in deltas)


def _judged_dict(judged: Judged) -> dict[str, Any]:
    values = {
        delta.metric: {
            "bundle": _json(delta.bundle),
            "here": _json(delta.here),
            "delta": _json(delta.amount),
            "tolerance": delta.tolerance,
        }
        for delta in judged.deltas
    }
    return {"verdict": judged.verdict, "deltas": values}


def _run_dict(run: RunVerdict) -> dict[str, Any]:
    identity = {key: getattr(run, key) for key in ("exp_id", "experiment", "train_seed", "eval_seed")}
    more = {"same_detections": run.same_detections, "reasons": [asdict(reason) for reason in run.reasons]}
    return identity | _judged_dict(run.judged) | more | {"log": run.log}


def _json(value: float) -> float | None:
    """JSON has no nan: undefined is null."""
    return None if value != value else value
