"""`c2o tables`: what may be typed, handed to c2o_evidence.tables.command and c2o_evidence.published.command."""

from __future__ import annotations

import argparse
from pathlib import Path

SUMMARY = "make or check tables"
HELP = """\
With --suite: the tables of results/SUITE, from the results that are there.

With Markdown files (default: README.md and docs/*.md): every table between two comments is recomputed from
per-run rows, and each cell that differs is named with file, line, row, column, expected and found:

  <!-- c2o:table suite=step1_5seed table=summary -->
  …
  <!-- c2o:end -->

table is summary, spread, arms, comparisons, claims, main, parity or attention. columns="setting, AP, FPS" and
rows="student_1, baseline_1" choose; a name that is not known is an error that says which are. The rows are those of
deliverables/SUITE if it is here (--deep recomputes them from the stored detections and re-hashes the
checkpoints), else those of manifests/reference/SUITE; the output names them with their digest. The files in
manifests/reference/SUITE/tables are checked against their own rows too.

examples:
  c2o tables --check                         README.md, docs/*.md and all of manifests/reference
  c2o tables --check README.md --deep
  c2o tables --check paper.md --source reference --json
  c2o tables --write README.md               put the recomputed tables in
  c2o tables --suite step1_5seed             write results/step1_5seed/tables from the results that are there
  c2o tables --suite step1_5seed --check     only say which tables would change

Exit code: 0 all follows from its rows, 1 something differs, 2 bad use."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE", help="Markdown (default: README.md, docs/*.md)")
    parser.add_argument("--suite", metavar="SUITE", help="the tables of results/SUITE instead")
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--check", action="store_true", help="write nothing; exit 1 if a table differs")
    action.add_argument("--write", action="store_true", help="put the recomputed tables into the Markdown files")
    parser.add_argument(
        "--source",
        choices=("auto", "deliverables", "reference"),
        default="auto",
        help="where rows come from (default: deliverables if there, else reference)",
    )
    parser.add_argument("--deep", action="store_true", help="also verify the deliverables used, level tables")
    parser.add_argument("--json", action="store_true", help="print the outcome of --check as JSON")


def run(arguments: argparse.Namespace, root: Path) -> int:
    from c2o_evidence.errors import EvidenceError

    if arguments.suite is not None:
        if arguments.files or arguments.write:
            raise EvidenceError("--suite goes with no file and no --write; name either a suite or Markdown files")
        from c2o_evidence.tables import tables_command

        return tables_command(arguments.suite, root, check=arguments.check)
    from c2o_evidence.published.command import check_command, write_command

    if arguments.write:
        if arguments.deep or arguments.json:
            raise EvidenceError("--deep and --json go with --check; write first, then check")
        return write_command(arguments.files, root, choice=arguments.source)
    if not arguments.check:
        raise EvidenceError("say what to do: --check or --write for Markdown files, or --suite SUITE")
    return check_command(arguments.files, root, choice=arguments.source, deep=arguments.deep, as_json=arguments.json)
