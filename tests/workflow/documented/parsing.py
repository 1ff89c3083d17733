"""Whether a command is one that its program takes: by the program's own parser, without running it."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import re
import shlex
from pathlib import Path

from c2o_evidence import cli
from c2o_evidence.commands import COMMANDS
from tests.workflow.documented.reading import ASSIGNMENT

PLACEHOLDERS = re.compile(r"[A-Z]+(_reduced)?$|…$")


# What stands for `…` in a command of c2o_model.
ANY_CONFIG = ["--config-file", "configs/models/digits/baseline.yaml"]


def fault_of(text: str, root: Path) -> str | None:
    """What a program of this project does not take in a whole command, or None. Other programs are not asked."""
    faults = (_fault_of_part(part, root) for part in text.split(" && "))
    return next((fault for fault in faults if fault is not None), None)


def _fault_of_part(text: str, root: Path) -> str | None:
    while match := ASSIGNMENT.match(text):
        text = text[match.end() :]
    words = [word for word in shlex.split(re.split(r" [|>]", text)[0]) if word != "…"]
    for launcher in ("torchrun", "srun"):
        if words[0] == launcher:
            words = ["python", *words[words.index("-m") :]]
    if words[0] == "c2o":
        return _parsed(cli._parser(), words[1:])
    if words[:2] == ["python", "-m"] and words[2].startswith("c2o_model."):
        module = importlib.import_module(words[2])
        if not hasattr(module, "_parser"):  # it takes files and no options
            missing = [word for word in words[3:] if word.startswith("configs/") and not (root / word).is_file()]
            return f"there is no {missing[0]}" if missing else None
        words += ANY_CONFIG if "…" in text else []
        return _parsed(module._parser(), words[3:]) or _configured(module._parser(), words[3:], root)
    if words[0] == "make":
        return _target_fault(words[1], root)
    if words[0] == "snakemake":
        return _deliverable_fault(words[-1], root)
    return None


def fault_of_mention(text: str, root: Path) -> str | None:
    """The same for a piece of running text, where what follows the command may be left out."""
    words = text.split()
    if words[0] == "make":
        return _target_fault(words[1], root)
    if words[0] == "snakemake":
        return _deliverable_fault(words[-1], root)
    if words[:2] == ["python", "-m"]:
        here = root.joinpath(*words[2].split("."))
        return None if here.with_suffix(".py").is_file() else f"there is no module {words[2]}"
    if words[1] == "--help" or PLACEHOLDERS.match(words[1]):
        return None
    if words[1] not in COMMANDS:
        return f"there is no command {words[1]}"
    known = _options(_subparsers(cli._parser())[words[1]])
    unknown = [word for word in words[2:] if word.startswith("--") and word.split("=")[0] not in known]
    return f"c2o {words[1]} does not know {unknown[0]}" if unknown and words[1] != "run" else None


def _parsed(parser: argparse.ArgumentParser, words: list[str]) -> str | None:
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            parser.parse_args(words)
    except SystemExit:
        return said.getvalue().strip().splitlines()[-1]
    return None


def _configured(parser: argparse.ArgumentParser, words: list[str], root: Path) -> str | None:
    """Whether the configuration that is named is there, and takes the keys behind it."""
    from c2o_model.config import load_config
    from c2o_model.keys import ConfigError

    given = parser.parse_args(words)
    if (name := getattr(given, "config_file", None)) is None:
        return None
    try:
        load_config(root / name, getattr(given, "opts", []))
    except (ConfigError, OSError) as error:
        return str(error)
    return None


def _target_fault(target: str, root: Path) -> str | None:
    makefile = (root / "Makefile").read_text(encoding="utf-8")
    found = re.search(rf"^{re.escape(target)}:", makefile, re.MULTILINE)
    return None if found or _is_suite(target, root) else f"make has no target {target}"


def _deliverable_fault(target: str, root: Path) -> str | None:
    name = target.removeprefix("deliverables/")
    if name == target or _is_suite(name, root) or name == "coco_main":  # docs/recipes.md writes that one
        return None
    return f"there is no suite {name}"


def _is_suite(name: str, root: Path) -> bool:
    name = name.removesuffix("_reduced")
    return bool(PLACEHOLDERS.match(name)) or (root / "configs" / "suites" / f"{name}.yaml").is_file()


def _subparsers(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    found = next(action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    return dict(found.choices)


def _options(parser: argparse.ArgumentParser) -> set[str]:
    """Of a command and of those below it (`c2o data check`)."""
    found = {option for action in parser._actions for option in action.option_strings}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for below in action.choices.values():
                found |= _options(below)
    return found
