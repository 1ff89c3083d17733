"""Where signatures lie: never inside the bundle, which holds what its SHA256SUMS lists and nothing else.

For `CHECKOUT/deliverables/NAME` that is `CHECKOUT/manifests/signatures/NAME/`, committed with the ledger; for a bundle
elsewhere the directory `BUNDLE.signatures` beside it. File names begin with the root digest that was signed.
"""

from __future__ import annotations

from pathlib import Path

from c2o_evidence.signing.statement import Statement

SSH_SUFFIX = ".sshsig"
OPENSSF_SUFFIX = ".model.sig"
STATEMENT_SUFFIX = ".statement.json"
DIGITS = 16  # of the root digest in a file name; the signature itself binds all of it
MAX_SIGNATURES = 100  # in one directory that are looked at


def signatures_dir(bundle: Path) -> Path:
    """The directory for the signatures of a bundle; it need not exist."""
    place = bundle.resolve()
    if place.parent.name == "deliverables":
        return place.parent.parent / "manifests" / "signatures" / place.name
    return place.with_name(f"{place.name}.signatures")


def file_stem(statement: Statement) -> str:
    """What the names of all files about one statement begin with."""
    return statement.root_sha256[:DIGITS]


def list_signatures(bundle: Path, suffix: str) -> list[Path]:
    """The signature files of one kind for a bundle, of whatever root digest, sorted by name."""
    folder = signatures_dir(bundle)
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.name.endswith(suffix))[:MAX_SIGNATURES]
