"""The files that the project writes, by the shape of their paths relative to the repository."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from c2o_evidence.bundle import EVAL_FILES, FIGURE_SUFFIXES, TABLE_FILES, TRAIN_FILES
from c2o_evidence.digest_cache import NAME as DIGESTS
from c2o_evidence.trained import ENTRY, FILES
from c2o_evidence.verify.files import TIMESTAMP

NAME = r"[A-Za-z0-9_-]+"
KEY = r"[0-9a-f]{64}"
# `.NAME.RANDOM.tmp` of c2o_evidence.atomic and `.NAME.PID.tmp` of c2o_model.checkpoint; `progress.PID.tmp` of training.
TEMPORARY = re.compile(r"(?:\..+\.[0-9a-f]{1,8}|progress\.\d+)\.tmp")


def _any_of(names: tuple[str, ...]) -> str:
    return "(?:" + "|".join(re.escape(name) for name in names) + ")"


RESULT = re.compile(
    rf"results/(?P<suite>{NAME})/(?P<place>"
    rf"train/{NAME}/seed\d+(?=/{_any_of(TRAIN_FILES)}$)|eval/{NAME}/seed\d+(?=/{_any_of(EVAL_FILES)}$)"
    r"|timing(?=/(?:timing\.tsv|record\.json)$)|attention(?=/(?:attention\.tsv|record\.json)$)"
    r"|parity(?=/(?:parity\.tsv|record\.json)$)"
    rf"|gallery(?=/(?:gallery\.json|record\.json|images/(?:\d+\.png|{re.escape(TIMESTAMP)}))$)"
    rf"|tables(?=/{_any_of(TABLE_FILES)}$)|figures(?=/[a-z_]+\.(?:{'|'.join(FIGURE_SUFFIXES)})$|/{re.escape(TIMESTAMP)}$)"
    r"|manifest\.tsv$|verify\.json$)"
)
"""A result of a suite: `suite`, and `place` as `Needs.asked` takes it."""

BUNDLE = re.compile(rf"results/(?P<suite>{NAME})/bundle/.+")
STATE = re.compile(
    rf"results/\.state/(?P<suite>{NAME})/(?P<job>{NAME}/seed\d+)/"
    r"(?:state-\d+\.safetensors(?:\.sha256)?|(?:progress|processes)\.json|progress\.host|curve\.jsonl|lock)"
)
ENTRY_FILE = re.compile(rf"results/\.state/trained/(?P<key>{KEY})/{_any_of((*FILES, ENTRY))}")
ENTRY_LOCK = re.compile(rf"results/\.state/trained/{KEY}\.lock")
FEATURES = re.compile(rf"results/\.state/features/(?:{KEY}\.safetensors(?:\.sha256)?|lock)")
ROOM_LOCK = re.compile(r"results/\.state/replay/\.[^/]+\.lock")
# What stays beside results: locks, the digests of the results manifest, the note of a freeze, what trackers show.
KEPT = re.compile(
    rf"results/\.state/{re.escape(DIGESTS)}(?:-journal)?|results/(?:{NAME}/)?\.[^/]+\.lock|results/{NAME}/frozen"
    rf"|results/(?:{NAME}/tensorboard|\.state/(?:mlflow|wandb))/.+"
)
JOB_LOG = re.compile(rf"logs/(?P<suite>{NAME})/(?P<kind>train|evaluate)/(?P<job>{NAME}/seed\d+)\.log")
SUITE_LOG = re.compile(rf"logs/(?P<suite>{NAME})/(?:{NAME}\.log|snakemake-\d+-\d+-\d+\.log)")


@dataclass(frozen=True)
class File:
    """A plain file below the repository: its name relative to it, bytes, and when it was last written (seconds)."""

    name: str
    size: int
    mtime: float


def files_below(root: Path, folder: str) -> Iterator[File]:
    """Plain files below a directory, sorted; directories that are links are not entered, links not told of."""
    for name, info in entries_below(root, folder):
        if stat.S_ISREG(info.st_mode):
            yield File(name, info.st_size, info.st_mtime)


def entries_below(root: Path, folder: str) -> Iterator[tuple[str, os.stat_result]]:
    """All that lies below a directory but directories: (name relative to the repository, lstat). Links not followed."""
    try:
        if not stat.S_ISDIR(os.lstat(root / folder).st_mode):
            return
        names = sorted(os.listdir(root / folder))
    except OSError:
        return
    for name in names:
        path = f"{folder}/{name}"
        try:
            info = os.lstat(root / path)
        except OSError:
            continue  # gone since it was listed
        if stat.S_ISDIR(info.st_mode):
            yield from entries_below(root, path)
        else:
            yield path, info


def lies_in_place(root: Path, name: str) -> bool:
    """Whether no directory on the way to `root/name` is a link."""
    return (root / name).parent.resolve() == (root.resolve() / name).parent
