"""SHA256SUMS: the list of a bundle's files, in the format that `sha256sum -c` reads.

One line a file, `<64 hex digits><two spaces><path>`, sorted by path, LF, no line for SHA256SUMS itself. Paths
are relative, with `/`, and never leave the bundle; names that would need `sha256sum`'s escaping are not
allowed at all.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from c2o_evidence.limits import MAX_PROBLEMS
from c2o_evidence.paths import path_fault

SUMS_NAME = "SHA256SUMS"
_LINE = re.compile(r"([0-9a-f]{64})  (.+)")


@dataclass(frozen=True)
class SumsProblem:
    """A line of SHA256SUMS that cannot be used: `unsafe` if its path leaves the bundle, else `malformed`."""

    line: int
    path: str
    unsafe: bool
    message: str


def format_sums(digests: Mapping[str, str]) -> str:
    """The text of SHA256SUMS for `{path: sha256}`.

    Raises ValueError for a path that does not belong in a bundle.
    """
    lines = []
    folded: dict[str, str] = {}
    for path in sorted(digests):
        reason = path_fault(path)
        if reason is None and (other := folded.setdefault(path.casefold(), path)) != path:
            reason = f"it differs from {other!r} in case alone"
        if reason is not None or path == SUMS_NAME:
            raise ValueError(f"{path!r} cannot be listed in {SUMS_NAME}: {reason or 'it is the list itself'}")
        lines.append(f"{digests[path]}  {path}\n")
    return "".join(lines)


def parse_sums(data: bytes) -> tuple[dict[str, str], list[SumsProblem]]:
    """Reads SHA256SUMS: the usable entries `{path: sha256}` and the lines that are not usable.

    Nothing is trusted: a path that leaves the bundle, a path listed twice or a damaged line is a problem, and
    never an entry, so that no caller can open it.
    """
    digests: dict[str, str] = {}
    folded: dict[str, str] = {}  # file systems that do not tell case apart hold one of two such files
    problems: list[SumsProblem] = []
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        return {}, [SumsProblem(0, "", False, f"is not UTF-8: {error}")]
    n_lines = text.count("\n")
    if text and not text.endswith("\n"):
        problems.append(SumsProblem(n_lines + 1, "", False, "the last line is cut off (no line end)"))
    for number, line in enumerate(text.split("\n"), start=1):
        if len(problems) >= MAX_PROBLEMS:
            problems.append(SumsProblem(number, "", False, f"more than {MAX_PROBLEMS} lines are damaged"))
            break
        if not line:
            if number <= n_lines:
                problems.append(SumsProblem(number, "", False, "the line is empty"))
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            problems.append(SumsProblem(number, "", False, "is not '<64 hex digits>  <path>'"))
            continue
        digest, path = match.groups()
        reason = path_fault(path)
        if reason is not None:
            problems.append(SumsProblem(number, path, True, reason))
        elif path == SUMS_NAME:
            problems.append(SumsProblem(number, path, False, "the list names itself"))
        elif path in digests:
            problems.append(SumsProblem(number, path, False, "the path is listed twice"))
        elif (other := folded.setdefault(path.casefold(), path)) != path:
            problems.append(SumsProblem(number, path, True, f"the path differs from {other!r} in case alone"))
        else:
            digests[path] = digest
    return digests, problems


def first_owners(digests: Mapping[str, str]) -> dict[str, str]:
    """Digest -> the first path that has it, of `{path: sha256}`."""
    owners: dict[str, str] = {}
    for path, digest in digests.items():
        owners.setdefault(digest, path)
    return owners
