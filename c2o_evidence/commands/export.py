"""`c2o export`: what may be typed, handed to c2o_evidence.exchange.command."""

from __future__ import annotations

import argparse
from pathlib import Path

SUMMARY = "results as CSV, Parquet, JSON, COCO results, LaTeX, model card"
KINDS = ("csv", "parquet", "json", "coco", "latex", "card")
HELP = """\
Writes results for other tools. The copies prove nothing by themselves: each says (in it, or in provenance.json beside
it) which bundle it is from, and a bundle is verified before it is read.

  csv, parquet, json   every table: runs, summary, comparisons, timing, manifest, learning curves, ...
  coco                 detections of each run as COCO results JSON, for pycocotools and what reads its format
  latex                the tables as booktabs tabulars, to be read with \\input
  card                 README.md for the Hugging Face Hub (as c2o model-card)

examples:
  c2o export step1_5seed --to csv                            files in exports/step1_5seed/csv
  c2o export deliverables/step1_5seed --to parquet -o ~/paper/data
  c2o export step1_5seed --to coco --run student_1:0:3       row, train seed, eval seed; all runs without --run
  c2o export step1_5seed --to latex -o paper/tables --force  replaces files of an earlier export

A NAME is the deliverable if there is one, else results/NAME. Files that differ are replaced only with --force."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", metavar="NAME|PATH", help="a suite that was run, a deliverable or a bundle")
    parser.add_argument("--to", required=True, choices=KINDS, help="the format")
    parser.add_argument("-o", "--out", type=Path, metavar="DIR", help="where (default: exports/NAME/FORMAT)")
    parser.add_argument("--run", action="append", default=[], metavar="EXP:TRAIN:EVAL|all", help="only these, for coco")
    parser.add_argument("--force", action="store_true", help="replace files that are there")


def run(arguments: argparse.Namespace, root: Path) -> int:
    from c2o_evidence.exchange.command import export_command

    return export_command(
        arguments.what, arguments.to, root, out=arguments.out, runs=arguments.run, force=arguments.force
    )
