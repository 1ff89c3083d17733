"""`c2o`: the command line. A command imports what it needs when it runs: `c2o --help` answers at once.

Exit codes: 0 all is well, 1 the evidence does not hold (or a build failed), 2 bad use or something is
missing.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from c2o_evidence.errors import DigestError, EvidenceError, FrozenError

OVERVIEW = """\
Builds, checks and shows the results of C2O experiments.

  c2o run step1_5seed                          build a deliverable, with progress and the time that is left
  c2o verify deliverables/step1_5seed          check a frozen bundle; --level tables recomputes every number
  c2o show step1_5seed                         the summary table; step1_5seed:EXP_ID shows one row's evidence
  c2o status                                   what is done, running, missing
  c2o doctor                                   is this machine ready, and what to do if it is not
"""

VERIFY_HELP = """\
Checks a frozen bundle, offline, without running or loading any model.

levels:
  files    every listed file is there with its SHA-256, nothing is extra, nothing leaves the bundle
  tables   the same, and every cell of every table is recomputed: AP from the stored detections, means,
           deviations and tests from the per-run rows; every row is bound to a re-hashed checkpoint; seeds
           complete, none twice

examples:
  c2o verify                                   every frozen deliverable, level files
  c2o verify deliverables/step1_5seed --level tables
  c2o verify some/copy/of/a/bundle --json      for machines

Without C2O installed, `python3 BUNDLE/verify.py` checks the files and the means with bare Python >= 3.9.
Exit code: 0 verified, 1 the evidence does not hold, 2 bad use."""

STATUS_HELP = """\
examples:
  c2o status                 every suite in configs/suites: how much is done, and whether it is frozen
  c2o status step1_5seed     each experiment and train seed: done, running (iteration, time left), missing"""

SHOW_HELP = """\
What to show:
  SUITE                      its summary table, comparisons and speed
  SUITE:EXP_ID               one row: its runs, each with checkpoint digest, and where the record of it lies
  SUITE:EXP_ID:TRAIN:EVAL    one run: number -> results row -> checkpoint digest -> record
  FILE                       a TSV, a record (.json) or a checkpoint's digest, as a readable table

examples:
  c2o show step1_5seed
  c2o show step1_5seed:student_1
  c2o show step1_5seed:student_1:3:0
  c2o show deliverables/step1_5seed/tables/runs.tsv"""

RUN_HELP = """\
Runs `snakemake deliverables/SUITE`, shows the running trainings and the time that is left, and keeps the
whole output in logs/SUITE/. Ctrl-C stops cleanly; the same command goes on where it stopped, also after a
crash. What follows SUITE goes to Snakemake.

examples:
  c2o run quick                                a first look, a few minutes
  c2o run step1_5seed -n                       only say what would be done
  c2o run step1_5seed --cores 8
  c2o run step1_5seed --workflow-profile profiles/slurm"""

TABLES_HELP = """\
examples:
  c2o tables --suite step1_5seed             write results/step1_5seed/tables from the results that are there
  c2o tables --suite step1_5seed --check     only say which tables would change (exit 1 if any)"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="c2o", description=OVERVIEW, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--root", type=Path, default=None, metavar="DIR", help="the checkout (default: found from here)"
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def add(name: str, summary: str, text: str) -> argparse.ArgumentParser:
        return commands.add_parser(
            name, help=summary, description=text, formatter_class=argparse.RawDescriptionHelpFormatter
        )

    verify = add("verify", "check a frozen bundle", VERIFY_HELP)
    verify.add_argument("path", nargs="?", type=Path, metavar="PATH", help="a bundle (default: all frozen ones)")
    verify.add_argument("--level", choices=("files", "tables", "eval", "train"), default="files")
    verify.add_argument("--json", action="store_true", help="print the report as JSON")
    verify.add_argument("--jobs", type=int, metavar="N", help="threads and processes to use (default: the cores)")
    verify.add_argument("--ledger", type=Path, metavar="FILE", help="deliverables.tsv with the frozen root digests")

    status = add("status", "what is done, running, missing", STATUS_HELP)
    status.add_argument("suite", nargs="?", metavar="SUITE")

    show = add("show", "a table, a row's evidence, a file", SHOW_HELP)
    show.add_argument("what", metavar="WHAT")

    doctor = add(
        "doctor",
        "is this machine ready",
        "Versions, device, threads, data sets, and what to do about what is missing.",
    )

    doctor.add_argument("--json", action="store_true", help="print the report as JSON")

    run = add("run", "build a deliverable", RUN_HELP)
    run.add_argument("suite", metavar="SUITE")
    run.add_argument("snakemake", nargs=argparse.REMAINDER, metavar="…", help="arguments for Snakemake")

    tables = add("tables", "make or check the tables of a suite", TABLES_HELP)
    tables.add_argument("--suite", required=True, metavar="SUITE")
    tables.add_argument("--check", action="store_true", help="write nothing; exit 1 if a table would change")
    return parser


def find_root(start: Path) -> Path:
    """The checkout that `start` lies in: the nearest directory upwards with a Snakefile, else `start`
    itself.
    """
    for folder in (start, *start.parents):
        if (folder / "Snakefile").is_file():
            return folder
    return start


def _verify(arguments: argparse.Namespace, root: Path) -> int:
    from c2o_evidence.verify.command import verify_command

    return verify_command(
        arguments.path,
        arguments.level,
        root=root,
        as_json=arguments.json,
        jobs=arguments.jobs,
        ledger=arguments.ledger,
    )


def _status(arguments: argparse.Namespace, root: Path) -> int:
    from c2o_evidence.status import print_status

    return print_status(arguments.suite, root)


def _show(arguments: argparse.Namespace, root: Path) -> int:
    from c2o_evidence.show import show

    return show(arguments.what, root)


def _doctor(arguments: argparse.Namespace, root: Path) -> int:
    from c2o_evidence.doctor import collect, render

    text, status = render(collect(root), as_json=arguments.json)
    print(text.rstrip())
    return status


def _run(arguments: argparse.Namespace, root: Path) -> int:
    from c2o_evidence.run import run_suite

    extra = list(arguments.snakemake)
    return run_suite(arguments.suite, extra[1:] if extra[:1] == ["--"] else extra, root)


def _tables(arguments: argparse.Namespace, root: Path) -> int:
    from c2o_evidence.tables import tables_command

    return tables_command(arguments.suite, root, check=arguments.check)


COMMANDS = {
    "verify": _verify,
    "status": _status,
    "show": _show,
    "doctor": _doctor,
    "run": _run,
    "tables": _tables,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code; messages of known errors go to stderr, never as a
    traceback.
    """
    arguments = _parser().parse_args(argv)
    root = arguments.root.resolve() if arguments.root is not None else find_root(Path.cwd())
    try:
        return COMMANDS[arguments.command](arguments, root)
    except (DigestError, FrozenError) as error:
        print(f"c2o {arguments.command}: {error}", file=sys.stderr)
        return 1
    except EvidenceError as error:
        print(f"c2o {arguments.command}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"c2o {arguments.command}: stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of a pipe (`c2o show … | head`) has gone; keep Python from complaining about it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        print(f"c2o {arguments.command}: {error.filename or ''}: {error.strerror or error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
