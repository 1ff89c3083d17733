"""`c2o show`: what may be typed, handed to c2o_evidence.show."""

from __future__ import annotations

import argparse
from pathlib import Path

SUMMARY = "a table, a row's evidence, a file"
HELP = """\
What to show:
  SUITE                      its summary table, comparisons and speed
  SUITE:EXP_ID               one row: its runs, each with checkpoint digest, and where the record of it lies
  SUITE:EXP_ID:TRAIN:EVAL    one run: number -> results row -> checkpoint digest -> record
  BUNDLE, BUNDLE:EXP_ID, …   the same of a bundle anywhere, by its directory
  FILE                       a TSV, a record (.json) or a checkpoint's digest, as a readable table

examples:
  c2o show step1_5seed
  c2o show step1_5seed:student_1
  c2o show step1_5seed:student_1:3:0
  c2o show deliverables/step1_5seed/tables/runs.tsv"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", metavar="WHAT")


def run(arguments: argparse.Namespace, root: Path) -> int:
    from c2o_evidence.show import show

    return show(arguments.what, root)
