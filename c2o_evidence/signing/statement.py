"""What is signed: an in-toto statement that binds a suite's name to the root digest of its bundle.

The root digest is the SHA-256 of SHA256SUMS, which lists every file, so the statement stands for every byte. The
numbers of files and bytes are those of the ledger: a reader can compare them before hashing anything.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from c2o_evidence.digests import sha256_bytes
from c2o_evidence.errors import EvidenceError
from c2o_evidence.limits import MAX_SUMS
from c2o_evidence.plain_file import read_plain
from c2o_evidence.sums import SUMS_NAME, parse_sums
from c2o_evidence.verify.files import walk
from c2o_evidence.yaml_file import load_yaml

TYPE = "https://in-toto.io/Statement/v1"
PREDICATE = "urn:c2o:frozen-bundle:v1"


@dataclass(frozen=True)
class Statement:
    """The name of a suite and what a bundle of it is.

    Attributes:
        root_sha256: of SHA256SUMS.
        n_files, n_bytes: how many files SHA256SUMS lists, and their sizes together.
    """

    name: str
    root_sha256: str
    n_files: int
    n_bytes: int

    def to_bytes(self) -> bytes:
        """The statement as it is signed: one line of JSON in a fixed spelling. Equal statements give equal bytes."""
        document = {
            "_type": TYPE,
            "subject": [{"name": f"{self.name}/{SUMS_NAME}", "digest": {"sha256": self.root_sha256}}],
            "predicateType": PREDICATE,
            "predicate": {"bytes": self.n_bytes, "files": self.n_files, "suite": self.name},
        }
        return (json.dumps(document, sort_keys=True, separators=(",", ":")) + "\n").encode("utf-8")


def statement_of(bundle: Path) -> Statement:
    """The statement that a bundle would be signed with as it is now. Only SHA256SUMS and suite.yaml are read;
    of the other files the sizes are looked up.

    The name is that of the suite in it, not that of the directory: a renamed copy is the same bundle.

    Raises:
        EvidenceError: one of the two cannot be read, or suite.yaml names no suite.
    """
    try:
        sums = read_plain(bundle / SUMS_NAME, MAX_SUMS)
        sizes = walk(bundle).files
    except OSError as error:
        raise EvidenceError(f"{bundle / SUMS_NAME}: cannot be read: {error.strerror}") from error
    document = load_yaml(bundle / "suite.yaml", f"{bundle}/suite.yaml")
    name = document.get("name") if isinstance(document, dict) else None
    if not isinstance(name, str) or not name:
        raise EvidenceError(f"{bundle}/suite.yaml: name: is not there, so there is nothing to sign")
    listed, _ = parse_sums(sums)
    # What is not listed is not signed: an extra file is a finding of its own, and leaves the signature as it is.
    return Statement(name, sha256_bytes(sums), len(listed), sum(sizes.get(path, 0) for path in listed))
