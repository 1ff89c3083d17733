"""Trainings that are done, by what decided them: no suite trains what another one has trained already.

`results/.state/trained/KEY/` holds the files of one training and `entry.json`, their digests and who trained. KEY is a
digest over the recipe, the very bytes that training started from (parents, data set) and the environment lock. The
directory appears under its name by one rename, complete and synced; an entry that is damaged since is not used.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from c2o_evidence.atomic import atomic_write, sync
from c2o_evidence.digests import check_sidecar, json_digest, sha256_file
from c2o_evidence.errors import EvidenceError
from c2o_evidence.json_file import parse_json
from c2o_evidence.limits import MAX_STATE
from c2o_evidence.plain_file import read_plain

ENTRY = "entry.json"
FILES = ("model.safetensors", "model.safetensors.sha256", "config.yaml", "curve.tsv")


@dataclass(frozen=True)
class Trained:
    """A complete entry: its directory, who trained it (suite, experiment, seed), what need not repeat bit by bit, and
    the kernel that each stage's attention ran.
    """

    path: Path
    origin: Mapping[str, str]
    nondeterminism: tuple[str, ...]
    attention: tuple[str, ...]

    @property
    def place(self) -> str:
        """`SUITE/EXPERIMENT/seedS` of the job that trained it."""
        return "{suite}/{experiment}/seed{seed}".format(**self.origin)


def training_key(recipe: str, materials: Mapping[str, str], lock_sha256: str) -> str:
    """The name of an entry.

    Args:
        recipe: the recipe digest.
        materials: digest of each file that training reads (init, teacher, data manifest), by role.
        lock_sha256: digest of the environment lock: another torch may give other bits.
    """
    return json_digest({"kind": "trained", "recipe": recipe, "materials": dict(materials), "lock": lock_sha256})


class TrainedStore:
    """The entries below one directory. `find` and `keep` belong inside `claim`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @contextmanager
    def claim(self, key: str) -> Iterator[None]:
        """Hold the entry: another job with the same training waits here, and finds it done afterwards.

        The kernel frees the claim when its holder dies, whatever killed it.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / f"{key}.lock").open("ab") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                print("another job does this very training: waiting for its result", file=sys.stderr, flush=True)
                fcntl.flock(stream, fcntl.LOCK_EX)
            yield

    def find(self, key: str) -> Trained | None:
        """The entry, or None where there is none that is whole: every file is hashed. A damaged one is named."""
        path = self.root / key
        if not path.is_dir():
            return None
        try:
            entry = _entry(path / ENTRY)
            for name in FILES:
                if (found := sha256_file(path / name)) != entry["files"][name]:
                    raise EvidenceError(f"{name}: sha256: expected {entry['files'][name]}, found {found}")
            check_sidecar(path / FILES[0])
            return Trained(path, entry["origin"], tuple(entry["nondeterminism"]), tuple(entry["attention"]))
        except (EvidenceError, OSError, ValueError) as error:
            print(f"{path}: is damaged and not used: {error}", file=sys.stderr, flush=True)
            return None

    def take(self, trained: Trained, files: Mapping[str, Path]) -> None:
        """Put copies of an entry's files at their places, each atomically.

        Not hard links: Snakemake touches what a job has made, and a touch in one suite would make files of others look
        new.
        """
        for name in FILES:
            target = files[name]
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
            try:
                shutil.copyfile(trained.path / name, temporary)
                sync(temporary)
                os.replace(temporary, target)
            finally:
                temporary.unlink(missing_ok=True)

    def keep(
        self,
        key: str,
        files: Mapping[str, Path],
        origin: Mapping[str, str],
        nondeterminism: tuple[str, ...] = (),
        attention: tuple[str, ...] = (),
    ) -> Trained:
        """Make an entry of the files of a finished training; a damaged one of that key is replaced.

        Raises:
            DigestError: a file is missing, or the checkpoint is not what its sidecar says.
        """
        check_sidecar(files[FILES[0]])
        for left in self.root.glob(f".{key}.*"):  # what a killed process had begun
            shutil.rmtree(left, ignore_errors=True)
        building = self.root / f".{key}.{secrets.token_hex(4)}"
        building.mkdir(parents=True)
        for name in FILES:
            shutil.copyfile(files[name], building / name)
            sync(building / name)
        digests = {name: sha256_file(building / name) for name in FILES}
        document = {
            "files": digests,
            "origin": dict(origin),
            "nondeterminism": list(nondeterminism),
            "attention": list(attention),
        }
        atomic_write(building / ENTRY, json.dumps(document, indent=2, sort_keys=True) + "\n")
        target = self.root / key
        if target.exists():
            os.replace(target, self.root / f".{key}.damaged")
        os.replace(building, target)
        sync(self.root)
        shutil.rmtree(self.root / f".{key}.damaged", ignore_errors=True)
        return Trained(target, dict(origin), nondeterminism, attention)


def _entry(path: Path) -> dict[str, Any]:
    """An entry.json with all that is needed of it in the right kinds. Raises OSError, ValueError."""
    entry = parse_json(read_plain(path, MAX_STATE))
    entry = entry if isinstance(entry, dict) else {}
    texts = {"files": FILES, "origin": ("suite", "experiment", "seed")}
    for key, names in texts.items():
        value = entry.get(key)
        if not isinstance(value, dict) or not all(isinstance(value.get(name), str) for name in names):
            raise ValueError(f"{ENTRY}: {key}: is not a mapping of {', '.join(names)}")
    for key in ("nondeterminism", "attention"):
        value = entry.get(key)
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise ValueError(f"{ENTRY}: {key}: is not a list of texts")
    return entry
