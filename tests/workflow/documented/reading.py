"""The commands that README.md and docs/ show: those in code blocks, and the ones in running text.

A code block without a language, or of a shell, holds commands if its first line begins with a program that is known
here. Then all its lines have to. Where lines begin with `$ `, they are the commands and the others are what is printed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

SHELLS = ("", "sh", "bash", "console", "shell")
KNOWN = """
c2o snakemake make python python3 . bash sh cd export git mkdir cp mv sed chmod printf echo pip apt-get conda
sbatch squeue srun scancel scontrol torchrun ssh-keygen openssl sha256sum rocrate-validator model_signing
tensorboard mlflow wandb jupyter
"""
PROGRAMS = frozenset(KNOWN.split())
ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=\S*\s+")


@dataclass(frozen=True)
class Command:
    """A command as it stands on a page: a line with its continuations, without prompt and comment."""

    page: str
    line: int
    text: str
    before: str = ""  # `cd`, `export` and `.` that stand before it in its block

    def __str__(self) -> str:
        return f"{self.page}:{self.line}: {self.text}"


def in_blocks(root: Path, page: str) -> list[Command]:
    """All commands in the code blocks of a page, in their order.

    Raises:
        ValueError: a block begins with a command and has a line that begins with no known program.
    """
    found = []
    for token in _tokens(root, page):
        if token.type not in ("fence", "code_block") or token.info.strip().split(" ")[0] not in SHELLS:
            continue
        assert token.map is not None
        first = token.map[0] + (2 if token.type == "fence" else 1)
        lines = list(_joined(token.content))
        before = ""
        prompts = [(number, line[2:]) for number, line in lines if line.startswith("$ ")]
        if not prompts and lines and program(lines[0][1]) not in PROGRAMS:
            continue
        for number, line in prompts or lines:
            text = without_comment(line)
            if not text:
                continue
            if program(text) not in PROGRAMS:
                raise ValueError(f"{page}:{first + number}: {text}: begins with no known program (PROGRAMS)")
            found.append(Command(page, first + number, text, before))
            if re.match(r"(cd|export|\.) [^&|;]*$", text):
                before += f"{text} && "
    return found


def in_text(root: Path, page: str) -> list[Command]:
    """Pieces of code in running text and tables that begin with a command of the project: `c2o …`, `make …`"""
    found = []
    for token in _tokens(root, page):
        for child in token.children or ():
            if child.type == "code_inline" and re.match(r"(c2o|make|snakemake|python -m) \S", child.content):
                found.append(Command(page, (token.map or [0])[0] + 1, " ".join(child.content.split())))
    return found


def pages(root: Path) -> list[str]:
    """README.md and all pages of docs/, but not what MkDocs writes."""
    return ["README.md", *(path.relative_to(root).as_posix() for path in sorted((root / "docs").rglob("*.md")))]


def program(text: str) -> str:
    """The program that a command begins with: behind variables that are set for it, without its directory."""
    while match := ASSIGNMENT.match(text):
        text = text[match.end() :]
    word = text.split(" ", 1)[0]
    return word if word == "." else word.rsplit("/", 1)[-1] if "bin/" in word else word


def without_comment(line: str) -> str:
    """Without what a shell takes for a comment: `#` behind a space, outside quotes."""
    quote = ""
    for place, letter in enumerate(line):
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
        elif letter == "#" and (place == 0 or line[place - 1].isspace()):
            return line[:place].rstrip()
    return line.rstrip()


def _joined(content: str) -> Iterator[tuple[int, str]]:
    """Lines that are not empty, with their number in the block; those that end with a backslash with the next one."""
    whole, begun = "", 0
    for number, line in enumerate(content.splitlines()):
        begun = begun if whole else number
        whole += line.strip() if whole else line.strip()
        if whole.endswith("\\"):
            whole = whole[:-1].rstrip() + " "
        elif whole:
            yield begun, whole
            whole = ""
    if whole:
        yield begun, whole.strip()


def _tokens(root: Path, page: str) -> list[Token]:
    return MarkdownIt("commonmark").enable("table").parse((root / page).read_text(encoding="utf-8"))
