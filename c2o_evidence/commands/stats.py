"""`c2o stats`: what may be typed, handed to c2o_evidence.foreign.command."""

from __future__ import annotations

import argparse
from pathlib import Path

SUMMARY = "statistics of any results TSV"
HELP = """\
Reads results files, ours or any other's: TSV (or CSV, by the name) with a line a run, a column AP and the
columns train_seed or eval_seed or both. exp_name, sample_step, ckpt_path, ckpt_sha256 are used where they are
there. Several files are joined. Rows are grouped by exp_name and sample_step; for each group mean, population
and sample deviation over all runs, the Student-t 95 % interval over train seeds, and the spread between train
seeds and between eval seeds. What n cannot carry is refused, with the reason and the figure.

First the rows are checked: one checkpoint with two digests, one digest under two train seeds, one run twice
are named with file and line, and nothing is computed (exit 1). A file that is not plainly such a table is an
error with file, line and column (exit 2).

examples:
  c2o stats results.tsv
  c2o stats baseline.tsv student.tsv --by train_seed       each train seed by itself too
  c2o stats runs.tsv --metric AP --metric AP50 --json      for machines; --markdown for a page
  c2o stats runs.tsv --compare student_1 baseline_1        paired over train seeds
  c2o stats --compare mine.tsv theirs.tsv                  two files
  c2o stats runs.tsv --compare full@1 full@4               one exp_name at two numbers of steps"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="*", metavar="FILE", help="a results file")
    parser.add_argument("--metric", action="append", metavar="COLUMN", help="column to sum up (default: AP); repeat it")
    parser.add_argument("--by", choices=("train_seed",), help="also a table for each train seed")
    parser.add_argument("--compare", nargs=2, metavar=("A", "B"), help="two exp_names (NAME@STEPS) or two files")
    parser.add_argument(
        "--test",
        choices=("auto", "paired", "unpaired", "wilcoxon", "mann-whitney"),
        default="auto",
        help="of --compare; auto pairs where both have the same train seeds",
    )
    parser.add_argument("--interval", choices=("t", "bootstrap"), default="t", help="default: t")
    parser.add_argument("--scale", choices=("0-1", "0-100"), help="of AP, where the values leave it open")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON")
    form.add_argument("--markdown", action="store_true", help="print Markdown")


def run(arguments: argparse.Namespace, root: Path) -> int:
    from c2o_evidence.foreign.command import Request, stats_command

    request = Request(
        files=tuple(arguments.files),
        metrics=tuple(dict.fromkeys(arguments.metric or ["AP"])),
        by=arguments.by,
        scale=arguments.scale,
        interval=arguments.interval,
        pair=tuple(arguments.compare) if arguments.compare else None,
        test=arguments.test,
        form="json" if arguments.json else "markdown" if arguments.markdown else "text",
    )
    return stats_command(request)
