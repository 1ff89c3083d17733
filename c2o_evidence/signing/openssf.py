"""OpenSSF model signatures (the public program `model_signing`, v1 format), for those whose tools check these.

The signature is over every file of the bundle directory by itself; the key method is used, which needs no network. The
program is called as it is: it lives in an environment of its own (`make attest`) or on the PATH.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from c2o_evidence.errors import EvidenceError
from c2o_evidence.plain_file import read_plain
from c2o_evidence.signing.program import run_program
from c2o_evidence.verify.files import TIMESTAMP

INSTALL = "`make attest` installs it into .venv/attest; elsewhere: pip install 'c2o[attest]'"
MAX_KEY = 64 << 10  # bytes; an EC key has some hundred
SECONDS = 3600.0  # it hashes the whole bundle


def program() -> str:
    """The program: of `make attest`, else beside this Python (the extra `attest`), else what the PATH has."""
    for folder in (Path(sys.prefix, "attest", "bin"), Path(sys.prefix, "bin")):
        if (folder / "model_signing").is_file():
            return str(folder / "model_signing")
    return shutil.which("model_signing") or "model_signing"


def require_public_key(key: Path) -> None:
    """A public key as PEM is there. Raises EvidenceError."""
    if not key.is_file():
        raise EvidenceError(f"{key}: there is no such key; ask the signer for the public key (PEM)")
    try:
        content = read_plain(key, MAX_KEY)
    except OSError as error:
        raise EvidenceError(f"{key}: cannot be read: {error.strerror}; name a public key (PEM)") from None
    if b"-----BEGIN PUBLIC KEY-----" not in content:
        raise EvidenceError(
            f"{key}: is no public key in PEM (-----BEGIN PUBLIC KEY-----); SSH signatures are asked for with --signer"
        )


def _run(action: str, key_option: str, key: Path, bundle: Path, signature: Path) -> str:
    if not key.is_file():
        raise EvidenceError(
            f"{key}: there is no such key; make a pair: openssl ecparam -name prime256v1 -genkey -noout -out key.pem"
            " && openssl ec -in key.pem -pubout -out key.pub"
        )
    place = bundle.resolve()
    command = [program(), action, "key", "--signature", str(signature.absolute()), key_option, str(key.absolute())]
    command += ["--no-ignore-git-paths", "--ignore-paths", str(place / TIMESTAMP), str(place)]
    done = run_program(command, b"", timeout=SECONDS, install=INSTALL)
    return "" if done.code == 0 else done.message or f"model_signing ended with code {done.code}"


def sign(bundle: Path, key: Path, signature: Path) -> None:
    """Writes the signature of a bundle. `key`: an EC private key as PEM.

    Raises:
        EvidenceError: the program or the key is missing, or it refuses; its words are in the message.
    """
    if fault := _run("sign", "--private_key", key, bundle, signature):
        raise EvidenceError(f"{key}: model_signing could not sign: {fault}")


def verify(bundle: Path, public_key: Path, signature: Path) -> str:
    """Why a signature is not one over the bundle by the key's owner; empty if it is.

    Raises:
        EvidenceError: the program or the key is missing.
    """
    return _run("verify", "--public_key", public_key, bundle, signature)
