"""Running the program of someone else: no shell, data by stdin, and never for ever."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from c2o_evidence.errors import EvidenceError


@dataclass(frozen=True)
class Done:
    """Exit code and output of a program."""

    code: int
    stdout: bytes
    message: str


def run_program(command: Sequence[str], data: bytes | None, *, timeout: float | None, install: str) -> Done:
    """Runs a program to its end.

    Args:
        data: for its stdin; None gives it the terminal's.
        timeout: seconds; None waits, for a program that may ask for a passphrase.
        install: what to do where the program is missing.

    Raises:
        EvidenceError: the program is not there, or did not end in time.
    """
    try:
        done = subprocess.run(command, input=data, capture_output=True, timeout=timeout, check=False)
    except FileNotFoundError:
        raise EvidenceError(f"{command[0]}: is not installed; {install}") from None
    except subprocess.TimeoutExpired:
        raise EvidenceError(f"{command[0]}: did not end within {timeout:g} s and was stopped") from None
    lines = (done.stderr + b"\n" + done.stdout).decode("utf-8", "replace").split("\n")
    return Done(done.returncode, done.stdout, next((line.strip() for line in lines if line.strip()), ""))
