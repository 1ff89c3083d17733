"""The page of commands: what `c2o --help` and `c2o COMMAND --help` say, and the targets of the Makefile."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from c2o_evidence import cli
from c2o_evidence.commands import COMMANDS
from docs.generate.markdown import block, cell, code, table

HEAD = """\
# Commands

Written from the code when this site was built: `c2o COMMAND --help` says the same. Exit codes of all: 0 all is well,
1 the evidence does not hold or a build failed, 2 bad use or something is missing, 130 stopped.

"""
TARGET = re.compile(r"^([a-z_$()A-Z]+):.*?## (.*)$", re.MULTILINE)


def page(root: Path) -> str:
    """The page, from the parser of `c2o` and the Makefile below `root`."""
    parser = cli._parser()
    choices = _subparsers(parser)
    listed = ((f"[`c2o {name}`](#c2o-{name})", cell(COMMANDS[name].SUMMARY)) for name in choices)
    parts = [HEAD, table(("command", "does"), listed)]
    for name, own in choices.items():
        parts.append(f"## c2o {name}\n\n{block(_help(own))}")
    targets = [(code(f"make {_target(name)}"), cell(what)) for name, what in TARGET.findall(_makefile(root))]
    parts.append(f"## make\n\n{table(('target', 'does'), targets)}")
    return "\n".join(parts)


def _subparsers(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    found = next(action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    return dict(found.choices)


def _help(parser: argparse.ArgumentParser) -> str:
    """As on a terminal of 100 columns, whatever one the build has."""
    parser.formatter_class = lambda prog: argparse.RawDescriptionHelpFormatter(prog, width=100)
    return parser.format_help()


def _makefile(root: Path) -> str:
    return (root / "Makefile").read_text(encoding="utf-8")


def _target(name: str) -> str:
    return "SUITE" if "SUITES" in name else name
