"""`c2o adopt`: what may be typed, handed to c2o_evidence.adopt."""

from __future__ import annotations

import argparse
from pathlib import Path

SUMMARY = "make copied results count as made"
HELP = """\
After a clone, a copy or a move of a checkout, or with a frozen bundle alone: checks every result by its
record and its bytes against the suite and the sources as they are now, and tells Snakemake what holds, so
that nothing trains again. What does not fit is listed with the reason and will be made again; nothing is
deleted. What is adopted also goes to the training store, where other suites find it.

Data images are not in a bundle: `--from` makes the data set again and compares it with the bundle's.

examples:
  c2o adopt                                        every suite that has results here
  c2o adopt step1_5seed --dry-run                  only say what fits and what does not
  c2o adopt --from deliverables/step1_5seed        results/step1_5seed from a bundle, checked first
  c2o adopt --from /mnt/usb/step1_5seed --json     for machines

Exit code: 0 all that lies there fits, 1 something does not, 2 bad use or another run is at work here."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("suites", nargs="*", metavar="SUITE", help="default: all with results here")
    parser.add_argument("--from", dest="bundle", type=Path, metavar="BUNDLE", help="take the results of this bundle")
    parser.add_argument("--dry-run", "-n", action="store_true", help="change nothing, only say what was found")
    parser.add_argument("--json", action="store_true", help="print the outcome as JSON")


def run(arguments: argparse.Namespace, root: Path) -> int:
    from c2o_evidence.adopt.command import adopt_command

    return adopt_command(
        arguments.suites, root, bundle=arguments.bundle, dry_run=arguments.dry_run, as_json=arguments.json
    )
