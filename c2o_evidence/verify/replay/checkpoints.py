"""A checkpoint that was trained again beside the frozen one: the same file, the same weights, or another one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from c2o_evidence.checkpoint_header import read_metadata, weights_digest
from c2o_evidence.digests import sha256_file
from c2o_evidence.verify.replay.reasons import Reason

Likeness = Literal["same-file", "same-weights", "another-file", "not-trained"]
LIKENESSES: tuple[Likeness, ...] = ("same-file", "same-weights", "another-file", "not-trained")


@dataclass(frozen=True)
class CheckpointVerdict:
    """How like the frozen checkpoint the retrained one is; `metadata` names the keys of its header that differ."""

    path: str
    verdict: Likeness
    metadata: tuple[str, ...] = ()
    reasons: tuple[Reason, ...] = ()
    log: str = ""


def compare_checkpoints(frozen: Path, retrained: Path) -> tuple[Likeness, tuple[str, ...]]:
    """The likeness of two checkpoints and the metadata keys that differ, sorted. No tensor is loaded.

    Raises:
        DigestError: one of them is no checkpoint.
    """
    if sha256_file(frozen) == sha256_file(retrained):
        return "same-file", ()
    old, new = read_metadata(frozen), read_metadata(retrained)
    keys = tuple(sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key)))
    return ("same-weights" if weights_digest(frozen) == weights_digest(retrained) else "another-file"), keys
