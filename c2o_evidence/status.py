"""`c2o status`: what of a suite is done, running or missing, from the records and progress files that are
there.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from c2o_evidence.errors import EvidenceError
from c2o_evidence.ledger import Frozen, read_ledger
from c2o_evidence.live.state import training_line
from c2o_evidence.printable import printable
from c2o_evidence.progress import Job, TrainingProgress, format_duration, read_progress, refined, seconds_left
from c2o_evidence.suite import load_suite
from c2o_evidence.workload import jobs_of


def job_state(job: Job, running: Iterable[TrainingProgress]) -> str:
    """`done`, `running …`, `stopped at …` (its state is kept) or `missing`."""
    if job.done:
        return "done"
    for item in running if job.stage == "train" else ():
        if (item.experiment, item.seed) == (job.experiment, job.seed):
            if item.alive:
                return f"running: {training_line(item).split(': ', 1)[1]}"
            return f"stopped at {item.iteration}/{item.total}; a re-run resumes it"
    return "missing"


def frozen_text(frozen: Frozen | None, deliverable: Path) -> str:
    """What the ledger says about a suite, and whether the deliverable is there."""
    if frozen is None:
        return "not frozen"
    if not deliverable.is_dir():
        return f"frozen (revision {frozen.revision}), but {deliverable.name} is not in deliverables/"
    return f"frozen, revision {frozen.revision}, root digest {frozen.root_sha256}"


def print_status(suite_name: str | None, root: Path) -> int:
    """Prints the state of one suite, or of all.

    Raises EvidenceError (SuiteError for a suite that is wrong).
    """
    ledger = read_ledger(root / "manifests" / "deliverables.tsv")
    if suite_name is None:
        return _print_all(root, ledger)
    from rich.console import Console
    from rich.table import Table

    suite = load_suite(suite_name, root)
    jobs = refined(jobs_of(suite, root))
    running = read_progress(root / "results" / ".state" / suite.name)
    by_job = {(item.experiment, item.seed): item for item in running}
    table = Table(title=f"{suite.name}: {sum(job.done for job in jobs)} of {len(jobs)} jobs done", box=None)
    for name in ("stage", "experiment", "seed", "state"):
        table.add_column(name, justify="right" if name == "seed" else "left")
    colours = {"done": "green", "missing": "dim"}
    for job in jobs:
        own = by_job.get((job.experiment, job.seed))
        state = job_state(job, (own,) if own else ())
        seed = str(job.seed) if job.experiment else ""
        table.add_row(job.stage, job.experiment, seed, state, style=colours.get(state, "yellow"))
    console = Console()
    console.print(table)
    left, _ = seconds_left(jobs, running, 1)
    if left:
        console.print(f"work left: about {format_duration(left)} of one core. Go on: c2o run {suite.name}")
    print(frozen_text(ledger.get(suite.name), root / "deliverables" / suite.name))
    return 0


def _print_all(root: Path, ledger: dict[str, Frozen]) -> int:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    paths = sorted((root / "configs" / "suites").glob("*.yaml"))
    if not paths:
        raise EvidenceError(f"{root}: has no configs/suites; run c2o inside a checkout, or give --root DIR")
    table = Table(box=None)
    for name in ("suite", "jobs done", "deliverable"):
        table.add_column(name, overflow="fold")
    for path in paths:
        name = path.stem
        try:
            jobs = jobs_of(load_suite(name, root), root)
            done = f"{sum(job.done for job in jobs)} of {len(jobs)}"
        except EvidenceError as error:
            done = str(error)
        table.add_row(name, Text(printable(done)), frozen_text(ledger.get(name), root / "deliverables" / name))
    Console().print(table)
    return 0
