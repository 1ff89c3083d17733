"""Snakemake run by `c2o adopt`: to write its notes on what was adopted, and to make a data set again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from c2o_evidence.adopt.check import Verdict
from c2o_evidence.errors import EvidenceError

SCRIPT = Path("workflow", "notes.py")


def write_notes(root: Path, suites: Iterable[str], verdicts: Iterable[Verdict]) -> dict[str, int]:
    """Have Snakemake note what is current and mark what is stale; the counts that workflow/notes.py prints.

    Raises:
        EvidenceError: Snakemake cannot plan the suites; its message is in it.
    """
    found = list(verdicts)
    asked = {
        "targets": [f"deliverables/{name}" for name in suites],
        "current": [verdict.job.note for verdict in found if verdict.state == "current"],
        "stale": [verdict.job.note for verdict in found if verdict.state == "stale"],
    }
    done = _python(root, [str(SCRIPT)], json.dumps(asked))
    counts: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
    return counts


def make_data(root: Path, manifest: str) -> None:
    """Make a data set again, by its rule. The caller holds the run lock, so Snakemake's hook that takes it stays off.

    Raises:
        EvidenceError: the rule fails.
    """
    _python(root, ["-m", "snakemake", manifest, "--no-hooks"], "")


def _python(root: Path, arguments: list[str], text: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=root, env=environment, input=text, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        lines = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        said = next((line for line in lines if line.startswith("Error: ")), "\n".join(lines[-10:]))
        raise EvidenceError(f"{arguments[0] if arguments[0] != '-m' else 'snakemake'} failed: {said}")
    return done
