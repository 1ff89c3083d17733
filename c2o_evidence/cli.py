"""`c2o`: the command line. The commands are in c2o_evidence.commands; here are the exit codes and messages of all.

Exit codes: 0 all is well, 1 the evidence does not hold (or a build failed), 2 bad use or something is
missing.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from c2o_evidence.commands import COMMANDS
from c2o_evidence.errors import DigestError, EvidenceError, FrozenError

OVERVIEW = """\
Builds, checks and shows the results of C2O experiments.

  c2o run step1_5seed                            build a deliverable, with progress and the time that is left
  c2o status                                     what is done, running, missing
  c2o show step1_5seed                           the summary table; step1_5seed:EXP_ID shows one row's evidence
  c2o report                                     one page over all results, to open in a browser
  c2o verify deliverables/step1_5seed            check a frozen bundle; --level tables recomputes every number
  c2o sign deliverables/step1_5seed --key FILE   say that you stand behind a bundle
  c2o diff A B                                   what moved between two bundles or tables, with tests
  c2o stats results.tsv                          statistics of any results TSV, and what its n cannot carry
  c2o tables --check                             every table in README.md and docs/ follows from its rows
  c2o predict photo.jpg --checkpoint SUITE:ROW   detections in pictures of your own; c2o watch: the denoising as a GIF
  c2o export step1_5seed --to csv                results for other tools: CSV, Parquet, JSON, COCO, LaTeX, model card
  c2o track step1_5seed --to mlflow              results in TensorBoard, MLflow or Weights & Biases
  c2o new-suite mine                             a commented suite file to start from
  c2o adopt                                      after a clone or copy: what holds need not be made again
  c2o data check coco                            is the copy of a public data set whole; plan: what it takes
  c2o gc --dry-run                               what nothing needs any more, and how much that is
  c2o doctor                                     is this machine ready, and what to do if it is not
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="c2o", description=OVERVIEW, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--root", type=Path, default=None, metavar="DIR", help="the checkout (default: found from here)"
    )
    typed = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, command in COMMANDS.items():
        own = typed.add_parser(
            name,
            help=command.SUMMARY,
            description=command.HELP,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.add_arguments(own)
    return parser


def find_root(start: Path) -> Path:
    """The checkout that `start` lies in: the nearest directory upwards with a Snakefile, else `start`
    itself.
    """
    for folder in (start, *start.parents):
        if (folder / "Snakefile").is_file():
            return folder
    return start


def _say(command: str, message: str) -> None:
    """An error on stderr. It may quote a file that others made, so nothing in it reaches the terminal as a command."""
    from c2o_evidence.printable import printable_lines

    print(f"c2o {command}: {printable_lines(message)}", file=sys.stderr)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code; messages of known errors go to stderr, never as a
    traceback.
    """
    arguments = _parser().parse_args(argv)
    root = arguments.root.resolve() if arguments.root is not None else find_root(Path.cwd())
    try:
        return COMMANDS[arguments.command].run(arguments, root)
    except (DigestError, FrozenError) as error:
        _say(arguments.command, str(error))
        return 1
    except EvidenceError as error:
        _say(arguments.command, str(error))
        return 2
    except RecursionError:
        _say(arguments.command, "a file is nested more deeply than any that C2O writes; restore it")
        return 2
    except MemoryError:
        _say(arguments.command, "there is not enough memory for this; use a machine with more, or --jobs 1")
        return 2
    except KeyboardInterrupt:
        print(f"c2o {arguments.command}: stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of a pipe (`c2o show … | head`) has gone; keep Python from complaining about it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        _say(arguments.command, f"{error.filename or ''}: {error.strerror or error}")
        return 2


if __name__ == "__main__":
    sys.exit(main())
