"""The stacks that a row of a suite can be evaluated in: what belongs to each, which rows are of another, their twins.

`detectron2` is the core, in which everything is trained; it is never written into digests, so that a row which names no
stack has the digest it always had. Another stack adds to the digest of its evaluations its name, its sources and the
versions of its libraries: an upgrade of one evaluates exactly these rows again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from c2o_evidence.code import code_digest
from c2o_evidence.digests import json_digest
from c2o_evidence.errors import SuiteError
from c2o_evidence.limits import MAX_TABLE
from c2o_evidence.plain_file import read_plain
from c2o_evidence.schemas import Fault

if TYPE_CHECKING:
    from c2o_evidence.suite import Suite
    from c2o_evidence.suite_spec import SuiteRow

CORE = "detectron2"
PARITY = "parity/parity.tsv"  # the table of c2o_evidence.parity, below `results/SUITE` or in a bundle


@dataclass(frozen=True)
class Stack:
    """A stack beside the core.

    Attributes:
        title: as a table prints it. module: that of its `evaluate`. packages: what it imports. pins: files, relative
            to the repository, that say in which versions. make: what to type to install them.
    """

    title: str
    module: str
    packages: tuple[str, ...]
    pins: tuple[str, ...]
    make: str


STACKS: Mapping[str, Stack] = {
    "diffusers": Stack(
        "Diffusers", "c2o_model.diffusers.evaluate", ("diffusers",), ("requirements/extras.txt",), "make extras"
    ),
    "mmdet": Stack(
        *(
            "MMDetection 3",
            "c2o_model.mmdet3.evaluate",
            ("mmcv", "mmdet", "mmengine"),
            ("requirements/mmdet.txt", "requirements/mmcv.txt"),
        ),
        "make mmdet",
    ),
}
"""By the name that `stack` of a row gives, and `c2o_evidence.code` its sources."""


def title_of(stack: str) -> str:
    """The name of a stack as a table prints it."""
    return STACKS[stack].title if stack in STACKS else "Detectron2" if stack == CORE else stack


def gap(value: float) -> str:
    """A difference as a table prints it: its size is what counts."""
    return f"{value:.1e}" if value else "0"


def others(rows: Sequence[SuiteRow]) -> tuple[str, ...]:
    """The stacks of the rows but the core, sorted."""
    return tuple(sorted({row.stack for row in rows} - {CORE}))


def stack_digest(root: Path, stack: str) -> str:
    """Digest of what a stack puts between checkpoint and detections: its sources and its pinned libraries.

    Raises:
        SuiteError: a library has no pin. DigestError: there are no sources.
    """
    return json_digest({"code": code_digest(root, stack), "pins": pins_of(root, stack)})


def pins_of(root: Path, stack: str) -> list[str]:
    """`NAME==VERSION` of each library of a stack, in its order; hashes of files do not count.

    Raises:
        SuiteError: the file of pins is not there, or lacks one.
    """
    spec, text, found = STACKS[stack], "", []
    for file in spec.pins:
        with suppress(OSError, UnicodeDecodeError):
            text += read_plain(root / file, MAX_TABLE).decode("utf-8") + "\n"
    for name in spec.packages:
        pin = re.search(rf"^{re.escape(name)}==([A-Za-z0-9.+!_-]+)", text, re.MULTILINE | re.IGNORECASE)
        if pin is None:
            files = " and ".join(spec.pins)
            raise SuiteError(f"{files}: pins no version of {name}, which rows of stack {stack} need; add it")
        found.append(f"{name}=={pin.group(1)}")
    return found


def lacking(stacks: Sequence[str]) -> str:
    """What keeps rows of these stacks from being evaluated here, and what to type; empty where nothing does.

    Packages are looked for, not imported.
    """
    for stack in stacks:
        if stack in STACKS and (names := [name for name in STACKS[stack].packages if not _is_there(name)]):
            spec = STACKS[stack]
            return f"rows of stack {stack} need {', '.join(names)}, which cannot be found; type `{spec.make}`"
    return ""


def _is_there(name: str) -> bool:
    spec = find_spec(name)
    if spec is None or name != "mmcv":
        return spec is not None
    # mmcv comes without its compiled operations too, under the same name.
    return any(any(Path(place).glob("_ext*")) for place in spec.submodule_search_locations or ())


def stack_faults(document: Mapping[str, Any]) -> list[Fault]:
    """What the schema cannot say about `stack`: time and pictures are the core's alone."""
    rows = document.get("rows", ())
    of_others = {row["exp_id"]: row["stack"] for row in rows if row.get("stack", CORE) != CORE}
    faults = []
    if document.get("timing") and of_others:
        name, stack = next(iter(of_others.items()))
        what = (
            f"times all rows in Detectron2, and {name!r} is of stack {stack}; remove it, or time them in another suite"
        )
        faults.append(Fault(("timing",), what))
    for index, name in enumerate((document.get("gallery") or {}).get("rows", ())):
        if name in of_others:
            what = (
                f"{name!r} is of stack {of_others[name]}, and pictures are made in Detectron2; name a row without stack"
            )
            faults.append(Fault(("gallery", "rows", index), what))
    return faults


def twins(suite: Suite) -> list[tuple[SuiteRow, SuiteRow]]:
    """Each row of another stack that has one with the core's row of the same checkpoints, steps and options."""
    found = []
    for row in suite.rows:
        if row.stack == CORE:
            continue
        for other in suite.rows_of(row.experiment):
            if (other.stack, other.sample_step, other.opts) == (CORE, row.sample_step, row.opts):
                found.append((row, other))
                break
    return found


def twin_jobs(suite: Suite) -> list[tuple[str, int]]:
    """(experiment, train seed) of the evaluations that hold twins."""
    names = {row.experiment for row, _ in twins(suite)}
    return [(name, seed) for name, seed in suite.eval_jobs if name in names]


def parity_digest(suite: Suite, code_sha256: str) -> str:
    """See `Suite.parity_digest`."""
    rows = [[row.exp_id, other.exp_id] for row, other in twins(suite)]
    evaluations = [suite.eval_digest(name, seed) for name, seed in twin_jobs(suite)]
    return json_digest({"kind": "parity", "rows": rows, "evaluations": evaluations, "code": code_sha256})
