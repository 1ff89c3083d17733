"""`c2o checklist`: what may be typed, handed to c2o_evidence.publish.command."""

from __future__ import annotations

import argparse
from pathlib import Path

SUMMARY = "ACM badges and reproducibility checklists from the evidence"
HELP = """\
Fills in the ACM artifact badges, the NeurIPS paper checklist and the machine learning reproducibility checklist
from a bundle. Each answer names the files that prove it; what no file can prove is left to the authors.

examples:
  c2o checklist deliverables/step1_5seed > checklist.md
  c2o checklist deliverables/step1_5seed --json"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", type=Path, metavar="BUNDLE")
    parser.add_argument("--json", action="store_true", help="for machines")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write here instead of printing")


def run(arguments: argparse.Namespace, root: Path) -> int:
    from c2o_evidence.publish.command import checklist_command

    return checklist_command(arguments.bundle, as_json=arguments.json, out=arguments.out)
