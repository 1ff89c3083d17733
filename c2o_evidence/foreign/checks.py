"""What the rows of results files say about each other: one checkpoint, one digest; one run, one row; one scale."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from c2o_evidence.errors import TableError
from c2o_evidence.foreign.reader import Run
from c2o_evidence.verify.findings import Finding

SCALES = {"0-1": 1.0, "0-100": 100.0}


def check_runs(runs: Sequence[Run]) -> list[Finding]:
    """Where the rows contradict each other; each finding names file and line of both rows, in the order of the rows."""
    findings: list[Finding] = []
    of_path: dict[Hashable, Run] = {}
    of_training: dict[Hashable, Run] = {}
    of_digest: dict[Hashable, Run] = {}
    of_run: dict[Hashable, Run] = {}
    for run in runs:
        if run.ckpt_sha256 is not None:
            named: list[tuple[dict[Hashable, Run], Hashable, str]] = []
            if run.ckpt_path:
                named.append((of_path, run.ckpt_path, f"checkpoint {run.ckpt_path}"))
            if run.train_seed is not None:
                training = (run.exp_name, run.train_seed)
                named.append((of_training, training, f"exp_name {run.exp_name}, train seed {run.train_seed}"))
            for known, key, what in named:
                first = known.setdefault(key, run)
                if first.ckpt_sha256 != run.ckpt_sha256:
                    findings.append(_two_digests(run, first, what))
            owner = of_digest.setdefault(run.ckpt_sha256, run)
            if owner.train_seed != run.train_seed:
                what = f"is the checkpoint of train seed {owner.train_seed} in {owner.place}"
                findings.append(_finding("used-twice", run, what, "ckpt_sha256", str(run.ckpt_sha256)))
        seeds = (run.exp_name, run.train_seed, run.eval_seed, run.sample_step)
        if seeds in of_run:
            findings.append(_same_run(run, of_run[seeds]))
        of_run.setdefault(seeds, run)
    return findings


def _finding(kind: str, run: Run, message: str, column: str, found: str, expected: str = "") -> Finding:
    return Finding(kind, run.file, message, f"line {run.line}", column, expected, found)  # type: ignore[arg-type]


def _two_digests(run: Run, first: Run, what: str) -> Finding:
    message = f"{what} has another digest in {first.place}"
    return _finding("changed", run, message, "ckpt_sha256", str(run.ckpt_sha256), str(first.ckpt_sha256))


def _same_run(run: Run, first: Run) -> Finding:
    seeds = f"train seed {run.train_seed}, eval seed {run.eval_seed}"
    if run.train_seed is None:
        seeds = f"eval seed {run.eval_seed} (without train_seed, trainings cannot be told apart)"
    steps = "" if run.sample_step is None else f", {run.sample_step} steps"
    message = f"exp_name {run.exp_name}, {seeds}{steps} is in {first.place} already, with"
    differ = [name for name, value in run.values.items() if first.values[name] != value]
    if not differ:
        return _finding("used-twice", run, f"{message} equal values", "eval_seed", "")
    name = differ[0]
    return _finding(
        "row-edited", run, f"{message} another value", name, repr(run.values[name]), repr(first.values[name])
    )


def scale_of(runs: Sequence[Run], stated: str | None = None) -> str:
    """`0-1` or `0-100`: what AP is written in, from the values, or as `stated`.

    AP of 1 and below together with AP above 1 is refused, for it may be two scales in one table; who knows
    better says so. 0 fits both.

    Raises:
        TableError: the scales are mixed, or a value is out of range.
    """
    low = next((run for run in runs if 0 < run.values["AP"] <= 1), None)
    high = next((run for run in runs if run.values["AP"] > 1), None)
    if stated is None and low is not None and high is not None:
        raise TableError(
            f"{high.place}: AP: {high.values['AP']!r} is on a scale of 0-100, but {low.values['AP']!r} in {low.place} "
            "looks like 0-1; use one scale, or say --scale 0-100 if the low value is meant so"
        )
    scale = stated or ("0-100" if high is not None else "0-1")
    for run in runs:
        for name, value in run.values.items():
            if name.startswith("AP") and not 0 <= value <= SCALES[scale]:
                hint = (
                    "-1 stands for undefined in COCO's tools: take the run out" if value == -1 else "correct the cell"
                )
                raise TableError(f"{run.place}: {name}: {value!r} is not in {scale}; {hint}")
    return scale
