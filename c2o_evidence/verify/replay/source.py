"""What a replay takes from a bundle: its suite and its files, each read as the bytes that level `files` hashed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from c2o_evidence.atomic import atomic_write
from c2o_evidence.bundle import EVAL_FILES, TRAIN_FILES
from c2o_evidence.digests import sha256_bytes
from c2o_evidence.errors import DigestError, EvidenceError
from c2o_evidence.json_file import parse_json
from c2o_evidence.paths import path_fault
from c2o_evidence.plain_file import open_plain
from c2o_evidence.suite import Suite
from c2o_evidence.verify.records import DATA
from c2o_evidence.yaml_file import parse_yaml


@dataclass(frozen=True)
class Source:
    """A bundle whose levels `files` and `tables` hold. `digests`: SHA-256 of its files by path, as found there."""

    root: Path
    suite: Suite
    digests: Mapping[str, str]
    root_digest: str

    def read(self, path: str) -> bytes:
        """The content of a file.

        Raises:
            DigestError: it is not what was hashed before: somebody writes to the bundle.
        """
        with open(open_plain(self.root / path, follow=False), "rb") as stream:
            data = stream.read()
        if sha256_bytes(data) != self.digests.get(path):
            raise DigestError(f"{self.root / path}: changed while the bundle was verified; verify a copy of it")
        return data

    def copy(self, path: str, target: Path) -> None:
        """Put a file's content at `target`. Raises as `read`."""
        atomic_write(target, self.read(path))

    def config(self, experiment: str, seed: int) -> Any:
        """What the resolved configuration of a checkpoint says. Raises SuiteError if it is no plain YAML."""
        path = config_path(experiment, seed)
        return parse_yaml(self.read(path), path)

    def train_files(self) -> Iterator[str]:
        """Paths of all frozen checkpoints and of what belongs to them."""
        for experiment, seed in self.suite.train_jobs:
            yield from (f"train/{experiment}/seed{seed}/{name}" for name in TRAIN_FILES)

    def eval_files(self) -> Iterator[str]:
        """Paths of all results and detections."""
        for experiment, seed in self.suite.eval_jobs:
            yield from (f"eval/{experiment}/seed{seed}/{name}" for name in EVAL_FILES)

    def size(self, paths: Iterator[str]) -> int:
        """Bytes of files together."""
        return sum((self.root / path).stat().st_size for path in paths)

    def data_files(self) -> dict[str, tuple[int, str]]:
        """Bytes and SHA-256 of each file of the data set, by path relative to it.

        Raises:
            EvidenceError: the data manifest is malformed, or a path in it leaves the set.
        """
        found = {}
        try:
            for name, entry in parse_json(self.read(DATA))["files"].items():
                if fault := path_fault(name):
                    raise EvidenceError(f"{DATA}: {name!r}: {fault}; do not use this bundle")
                found[name] = (int(entry["bytes"]), str(entry["sha256"]))
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
            raise EvidenceError(f"{DATA}: is not a data manifest ({error!r})") from None
        return found


def config_path(experiment: str, seed: int) -> str:
    """Where the resolved configuration of a checkpoint lies in a bundle."""
    return f"train/{experiment}/seed{seed}/config.yaml"
