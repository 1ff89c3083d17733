"""SSH signatures (`ssh-keygen -Y`): made with the key that a researcher has already, checked with OpenSSH alone.

The format is OpenSSH's PROTOCOL.sshsig; who may sign says an allowed-signers file (ssh-keygen(1), ALLOWED SIGNERS),
with validity times and namespaces; revoked keys by a key revocation list.
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

from c2o_evidence.errors import EvidenceError
from c2o_evidence.plain_file import read_plain
from c2o_evidence.signing.program import run_program
from c2o_evidence.signing.statement import Statement

NAMESPACE = "c2o-bundle"
INSTALL = "install OpenSSH 8.2 or newer (Debian, Ubuntu: apt-get install openssh-client)"
MAX_SIGNATURE = 64 << 10  # bytes; an SSH signature has less than 4 kB
SECONDS = 60.0
FINGERPRINT = re.compile(r"with \S+ key (SHA256:[A-Za-z0-9+/]+)")


def sign(statement: Statement, key: Path) -> bytes:
    """The signature of a statement, armored.

    Args:
        key: a private key, or a public one whose private part ssh-agent holds. A passphrase, or the touch of a security
            key, is asked for on the terminal.

    Raises:
        EvidenceError: ssh-keygen is missing, or refuses; its words are in the message.
    """
    if key.is_dir():
        raise EvidenceError(f"{key}: is a directory; name the key's file in it")
    if not key.is_file():
        raise EvidenceError(f"{key}: there is no such key; make one: ssh-keygen -t ed25519 -f {key}")
    command = ["ssh-keygen", "-Y", "sign", "-q", "-f", str(key.absolute()), "-n", NAMESPACE]
    done = run_program(command, statement.to_bytes(), timeout=None, install=INSTALL)
    if done.code or b"BEGIN SSH SIGNATURE" not in done.stdout:
        raise EvidenceError(f"{key}: ssh-keygen could not sign: {done.message or f'exit code {done.code}'}")
    return done.stdout


def fingerprint(statement: Statement, signature: Path) -> str:
    """The fingerprint of the key that made a signature over `statement`, whoever owns it; empty if it does not hold."""
    command = ["ssh-keygen", "-Y", "check-novalidate", "-n", NAMESPACE, "-s", str(signature.absolute())]
    done = run_program(command, statement.to_bytes(), timeout=SECONDS, install=INSTALL)
    found = FINGERPRINT.search(done.stdout.decode("utf-8", "replace"))
    return found[1] if done.code == 0 and found else ""


def require_files(*paths: Path | None) -> None:
    """Files of allowed signers or revoked keys are there. Raises EvidenceError."""
    for path in paths:
        if path is not None and not path.is_file():
            raise EvidenceError(f"{path}: there is no such file; it says whose keys are trusted (ssh-keygen(1))")


def verify(
    statement: Statement, signature: bytes, signer: str, allowed_signers: Path, revoked: Path | None = None
) -> str:
    """Why a signature is not one of `signer` over `statement`; empty if it is.

    Args:
        signature: the content of a signature file: read once, so that what is checked is what was looked at.

    Raises:
        EvidenceError: ssh-keygen or the allowed-signers file is missing.
    """
    require_files(allowed_signers, revoked)
    with tempfile.TemporaryDirectory(prefix="c2o-signature-") as folder:
        copy = Path(folder, "signature")
        copy.write_bytes(signature)
        command = ["ssh-keygen", "-Y", "verify", "-f", str(allowed_signers.absolute()), "-I", signer, "-n", NAMESPACE]
        command += ["-s", str(copy)]
        done = run_program(command, statement.to_bytes(), timeout=SECONDS, install=INSTALL)
        if revoked is not None and done.code == 0:
            command += ["-r", str(revoked.absolute())]
            done = run_program(command, statement.to_bytes(), timeout=SECONDS, install=INSTALL)
            if done.code:
                return f"the key is revoked by {revoked}"
    if done.code == 0 and b"Good " in done.stdout:
        return ""
    return (done.message or f"ssh-keygen ended with code {done.code}").replace(str(copy), "the signature")


def read_signature(path: Path) -> bytes:
    """The bytes of a signature file. Raises OSError where it is no plain file, or too large for one."""
    return read_plain(path, MAX_SIGNATURE)
