"""Checking a bundle's signatures against whom the user trusts. A signature alone proves nothing: keys are cheap."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from c2o_evidence.errors import EvidenceError
from c2o_evidence.signing import openssf, ssh
from c2o_evidence.signing.statement import Statement, statement_of
from c2o_evidence.signing.store import OPENSSF_SUFFIX, SSH_SUFFIX, file_stem, list_signatures, signatures_dir
from c2o_evidence.sums import SUMS_NAME
from c2o_evidence.verify.findings import Finding


@dataclass(frozen=True)
class Trust:
    """Whose signature is asked for.

    Attributes:
        signer: an identity of `allowed_signers`, for SSH signatures.
        allowed_signers, revoked: files of ssh-keygen(1).
        public_key: PEM, for OpenSSF model signatures.
        signature: one signature file; default: those in the place for signatures of the bundle.
    """

    signer: str = ""
    allowed_signers: Path | None = None
    revoked: Path | None = None
    public_key: Path | None = None
    signature: Path | None = None


def note_of(bundle: Path) -> str:
    """What to say of signatures that nobody asked about; empty where there are none."""
    count = sum(len(list_signatures(bundle, suffix)) for suffix in (SSH_SUFFIX, OPENSSF_SUFFIX))
    if not count:
        return ""
    one = "a signature lies" if count == 1 else f"{count} signatures lie"
    return f"{one} in {signatures_dir(bundle)}, not checked: name whom you trust with --signer or --public-key"


def require_usable(trust: Trust) -> None:
    """What is asked for can be looked up: said before a bundle is hashed or replayed for hours.

    Raises:
        EvidenceError: a file that it names is missing or of another kind, or no file says whose key the signer's is.
    """
    if trust.signer and trust.allowed_signers is None:
        raise EvidenceError(
            f"--signer {trust.signer}: say whose key that is with --allowed-signers FILE, with a line for each: "
            "IDENTITY KEYTYPE KEY (ssh-keygen(1), ALLOWED SIGNERS)"
        )
    if trust.signer:
        ssh.require_files(trust.allowed_signers, trust.revoked)
    if trust.public_key is not None:
        openssf.require_public_key(trust.public_key)


def check_signatures(bundle: Path, trust: Trust, verified: str | None = None) -> tuple[list[Finding], list[str]]:
    """Findings unless each signature asked for is there and holds; notes of those that do.

    Args:
        verified: the root digest whose files were verified; a signature over another one says nothing of them.

    Raises:
        EvidenceError: bad use (no allowed-signers file), or a program or key is missing.
    """
    require_usable(trust)
    findings, notes = [], []
    try:
        statement = statement_of(bundle)
    except EvidenceError as error:
        return [Finding("unsigned", "suite.yaml", f"nothing can be signed without it: {error}")], []
    if verified is not None and statement.root_sha256 != verified:
        message = "was exchanged after it was verified, so no signature was checked; verify again"
        return [Finding("unsafe", SUMS_NAME, message, expected=verified, found=statement.root_sha256)], []
    if trust.signer:
        said, faults = _ssh(bundle, statement, trust)
        notes += said
        findings += faults
    if trust.public_key is not None:
        said, faults = _openssf(bundle, statement, trust.public_key, trust.signature)
        notes += said
        findings += faults
    return findings, notes


def _candidates(bundle: Path, suffix: str, given: Path | None, statement: Statement) -> Iterator[Path]:
    """Signature files that may be meant, those of this root digest first."""
    if given is not None:
        yield given
        return
    paths = list_signatures(bundle, suffix)
    yield from sorted(paths, key=lambda path: not path.name.startswith(file_stem(statement)))


def _ssh(bundle: Path, statement: Statement, trust: Trust) -> tuple[list[str], list[Finding]]:
    assert trust.allowed_signers is not None
    given = None if trust.signature is not None and trust.signature.name.endswith(OPENSSF_SUFFIX) else trust.signature
    faults = []
    for path in _candidates(bundle, SSH_SUFFIX, given, statement):
        try:
            content = ssh.read_signature(path)
        except OSError as error:
            faults.append(f"{path.name}: cannot be read: {error.strerror}")
            continue
        fault = ssh.verify(statement, content, trust.signer, trust.allowed_signers, trust.revoked)
        if not fault:
            return [f"signed by {trust.signer} ({path.name}): root digest {statement.root_sha256}"], []
        faults.append(f"{path.name}: {fault}")
    return [], [_finding(f"signature of {trust.signer}", bundle, faults, statement)]


def _openssf(
    bundle: Path, statement: Statement, public_key: Path, signature: Path | None
) -> tuple[list[str], list[Finding]]:
    given = None if signature is not None and signature.name.endswith(SSH_SUFFIX) else signature
    faults = []
    for path in _candidates(bundle, OPENSSF_SUFFIX, given, statement):
        fault = openssf.verify(bundle, public_key, path)
        if not fault:
            return [f"model signature by the owner of {public_key} ({path.name}) holds"], []
        faults.append(f"{path.name}: {fault}")
    return [], [_finding(f"model signature by the owner of {public_key}", bundle, faults, statement)]


def _finding(what: str, bundle: Path, faults: list[str], statement: Statement) -> Finding:
    if not faults:
        return Finding("unsigned", SUMS_NAME, f"there is no {what} in {signatures_dir(bundle)}")
    text = "; ".join(faults[:3]) + (f"; and {len(faults) - 3} more" if len(faults) > 3 else "")
    return Finding("signature", SUMS_NAME, f"no valid {what} over the root digest {statement.root_sha256}: {text}")
