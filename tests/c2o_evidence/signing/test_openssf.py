"""OpenSSF model signatures: ours are accepted by the public program as it stands, and its own by us."""

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from c2o_evidence.signing import Trust, check_signatures, openssf
from c2o_evidence.signing.command import sign_command
from c2o_evidence.signing.store import signatures_dir


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """An EC key pair as PEM files, private and public, made by openssl."""
    if shutil.which("openssl") is None or shutil.which(openssf.program()) is None:
        pytest.skip("openssl or the programs of `make attest` are not installed")
    folder = tmp_path_factory.mktemp("ec")
    private, public = folder / "key.pem", folder / "key.pub"
    subprocess.run(
        ["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", str(private)],
        check=True,
        capture_output=True,
    )
    subprocess.run(
        ["openssl", "ec", "-in", str(private), "-pubout", "-out", str(public)], check=True, capture_output=True
    )
    return private, public


@pytest.fixture
def small(tmp_path: Path) -> Path:
    bundle = tmp_path / "deliverables" / "small"
    (bundle / "tables").mkdir(parents=True)
    (bundle / "suite.yaml").write_text("name: small\n")
    (bundle / "tables" / "value.txt").write_text("42\n")
    lines = [
        f"{hashlib.sha256((bundle / name).read_bytes()).hexdigest()}  {name}\n"
        for name in ("suite.yaml", "tables/value.txt")
    ]
    (bundle / "SHA256SUMS").write_text("".join(lines))
    return bundle


def test_both_ways_and_a_changed_byte(small: Path, pair: tuple[Path, Path], tmp_path: Path) -> None:
    private, public = pair
    (small / ".snakemake_timestamp").touch()  # Snakemake's, in every directory that a rule made
    assert sign_command(small, private, "model-signing") == 0
    (made,) = signatures_dir(small).glob("*.model.sig")
    (small / ".snakemake_timestamp").unlink()
    theirs = [openssf.program(), "verify", "key", "--signature", str(made), "--public_key", str(public), str(small)]
    done = subprocess.run(theirs, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert check_signatures(small, Trust(public_key=public)) == (
        [], [f"model signature by the owner of {public} ({made.name}) holds"]
    )  # fmt: skip
    other = tmp_path / "theirs.model.sig"
    command = [openssf.program(), "sign", "key", "--signature", str(other), "--private_key", str(private), str(small)]
    subprocess.run(command, check=True, capture_output=True)
    assert check_signatures(small, Trust(public_key=public, signature=other))[0] == []
    (small / "tables" / "value.txt").write_text("43\n")
    (finding,) = check_signatures(small, Trust(public_key=public))[0]
    assert finding.kind == "signature" and f"no valid model signature by the owner of {public}" in finding.message


def test_without_a_signature_key_or_program(
    small: Path, pair: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (finding,) = check_signatures(small, Trust(public_key=pair[1]))[0]
    assert finding.kind == "unsigned" and "there is no model signature by the owner of" in finding.message
    with pytest.raises(Exception, match="nosuch: there is no such key; make a pair: openssl ecparam"):
        sign_command(small, tmp_path / "nosuch", "model-signing")
    monkeypatch.setattr(openssf.sys, "prefix", str(tmp_path))
    monkeypatch.setenv("PATH", os.path.dirname(shutil.which("true") or "") + "/nosuch")
    with pytest.raises(Exception, match=r"model_signing: is not installed; `make attest` installs it"):
        sign_command(small, pair[0], "model-signing")
