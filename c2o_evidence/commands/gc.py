"""`c2o gc`: what may be typed, handed to c2o_evidence.garbage."""

from __future__ import annotations

import argparse
from pathlib import Path

SUMMARY = "remove what nothing needs any more"
HELP = """\
Removes, without asking, what the project has made and no manifest, bundle, suite or running job needs:
files of killed writers, states of finished trainings, entries of the training store and feature caches
that nothing will use, results that no suite asks for and no manifest names, staged bundles that are frozen
as deliverables, rooms of replays, logs of jobs that are gone. Never deliverables, manifests, data sets or
the environment; never a file that the project does not know. Links are not followed.

examples:
  c2o gc --dry-run           only say what would go, why, and how much
  c2o gc                     remove it
  c2o gc --dry-run --json    for machines

Exit code: 0 done, 1 something could not be removed, 2 bad use or a run is at work here."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dry-run", "-n", action="store_true", help="remove nothing, only say what would go")
    parser.add_argument("--json", action="store_true", help="print the outcome as JSON")


def run(arguments: argparse.Namespace, root: Path) -> int:
    from c2o_evidence.garbage.command import gc_command

    return gc_command(root, dry_run=arguments.dry_run, as_json=arguments.json)
