"""`c2o sign`: signs a bundle that verifies, and says how others check that."""

from __future__ import annotations

import tempfile
from pathlib import Path

from c2o_evidence.atomic import atomic_write
from c2o_evidence.errors import DigestError, EvidenceError
from c2o_evidence.signing import openssf, ssh
from c2o_evidence.signing.statement import Statement, statement_of
from c2o_evidence.signing.store import OPENSSF_SUFFIX, SSH_SUFFIX, STATEMENT_SUFFIX, file_stem, signatures_dir
from c2o_evidence.verify import verify


def sign_command(bundle: Path, key: Path, method: str) -> int:
    """Signs and prints where the signature lies; 0.

    Raises:
        DigestError: the bundle does not verify: it is not signed.
        EvidenceError: no bundle, key or program, or the program refuses.
    """
    report = verify(bundle)
    if not report.ok:
        raise DigestError(f"{bundle}: does not verify, so it is not signed: {report.findings[0]}")
    statement = statement_of(bundle)
    if statement.root_sha256 != report.root_digest:
        raise DigestError(f"{bundle}: changed while it was being verified, so it is not signed")
    stem = signatures_dir(bundle) / file_stem(statement)
    print(f"{statement.name}: root digest {statement.root_sha256}")
    for note in report.notes:
        print(f"note: {note}")
    (_sign_ssh if method == "ssh" else _sign_openssf)(bundle, key, statement, stem)
    return 0


def _sign_ssh(bundle: Path, key: Path, statement: Statement, stem: Path) -> None:
    signature = ssh.sign(statement, key)
    with tempfile.TemporaryDirectory(prefix="c2o-signature-") as folder:
        copy = Path(folder, "signature")
        copy.write_bytes(signature)
        print_of_key = ssh.fingerprint(statement, copy)
    if not print_of_key:
        raise EvidenceError(f"{key}: ssh-keygen does not accept its own signature; nothing was written")
    name = print_of_key.removeprefix("SHA256:").replace("/", "-").replace("+", "_")[:12]
    path = stem.with_name(f"{stem.name}.{name}{SSH_SUFFIX}")
    atomic_write(stem.with_name(stem.name + STATEMENT_SUFFIX), statement.to_bytes())
    atomic_write(path, signature)
    public = key if key.suffix == ".pub" else key.with_name(key.name + ".pub")
    line = " ".join(public.read_text("utf-8").split()[:2]) if public.is_file() else "KEYTYPE KEY"
    print(f"signed with {print_of_key}: {path}")
    print("others check it with a file `signers` that has the line")
    print(f'  you@example.org namespaces="{ssh.NAMESPACE}" {line}')
    print(f"  c2o verify {bundle} --signer you@example.org --allowed-signers signers")


def _sign_openssf(bundle: Path, key: Path, statement: Statement, stem: Path) -> None:
    final = stem.with_name(stem.name + OPENSSF_SUFFIX)
    with tempfile.TemporaryDirectory(prefix="c2o-signature-") as folder:
        made = Path(folder, "model.sig")
        openssf.sign(bundle, key, made)
        atomic_write(final, made.read_bytes())
    print(f"signed: {final}")
    print(f"  c2o verify {bundle} --public-key KEY.pub")
