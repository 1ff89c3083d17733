"""SSH signatures over bundles: what ssh-keygen itself makes and checks is the reference."""

import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from c2o_evidence.cli import main
from c2o_evidence.signing import Statement, Trust, check_signatures, statement_of
from c2o_evidence.signing.store import list_signatures, signatures_dir

ALICE, BOB = "alice@example.org", "bob@example.org"


def keygen(*arguments: str, data: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["ssh-keygen", *arguments], input=data, capture_output=True, check=False)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Keys of Alice and Bob, and an allowed-signers file with both."""
    if shutil.which("ssh-keygen") is None:
        pytest.skip("ssh-keygen is not installed")
    folder = tmp_path_factory.mktemp("keys")
    lines = []
    for name in ("alice", "bob"):
        done = keygen("-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(folder / name))
        assert done.returncode == 0, done.stderr
        lines.append(f"{name}@example.org {(folder / f'{name}.pub').read_text().strip()}\n")
    (folder / "signers").write_text("".join(lines))
    return folder


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A directory that level files takes for a bundle: a suite with a name, and SHA256SUMS."""
    bundle = tmp_path / "deliverables" / "small"
    bundle.mkdir(parents=True)
    (bundle / "suite.yaml").write_text("name: small\n")
    (bundle / "value.txt").write_text("42\n")
    write_sums(bundle)
    return bundle


def write_sums(bundle: Path) -> None:
    names = sorted(path.name for path in bundle.iterdir() if path.name != "SHA256SUMS")
    lines = [f"{hashlib.sha256((bundle / name).read_bytes()).hexdigest()}  {name}\n" for name in names]
    (bundle / "SHA256SUMS").write_text("".join(lines))


def c2o(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = main([str(argument) for argument in arguments])
    said = capsys.readouterr()
    return code, said.out, said.err


def trust(keys: Path, signer: str, **more: Path) -> Trust:
    return Trust(signer=signer, allowed_signers=keys / "signers", **more)


def test_the_statement_is_in_totos_and_binds_name_and_root(small: Path) -> None:
    root = hashlib.sha256((small / "SHA256SUMS").read_bytes()).hexdigest()
    statement = statement_of(small)
    sizes = [(small / name).stat().st_size for name in ("suite.yaml", "value.txt")]
    assert statement == Statement("small", root, 2, sum(sizes)) and sizes == [12, 3]
    assert json.loads(statement.to_bytes()) == {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "small/SHA256SUMS", "digest": {"sha256": root}}],
        "predicateType": "urn:c2o:frozen-bundle:v1",
        "predicate": {"bytes": 15, "files": 2, "suite": "small"},
    }
    assert statement.to_bytes().endswith(b"}\n") and b" " not in statement.to_bytes()


def test_sign_then_verify_here_and_by_hand(small: Path, keys: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path.name: path.read_bytes() for path in small.iterdir()}
    code, said, _ = c2o(capsys, "sign", small, "--key", keys / "alice")
    assert code == 0 and "signed with SHA256:" in said
    assert {path.name: path.read_bytes() for path in small.iterdir()} == before
    folder = small.parent.parent / "manifests" / "signatures" / "small"
    assert signatures_dir(small) == folder
    (signature,) = folder.glob("*.sshsig")
    (statement,) = folder.glob("*.statement.json")
    by_hand = keygen("-Y", "verify", "-f", str(keys / "signers"), "-I", ALICE, "-n", "c2o-bundle", "-s", str(signature),
                     data=statement.read_bytes())  # fmt: skip
    assert by_hand.returncode == 0 and b"Good" in by_hand.stdout
    options = ("--allowed-signers", keys / "signers")
    code, said, _ = c2o(capsys, "verify", small, "--signer", ALICE, *options)
    assert code == 0 and f"note: signed by {ALICE} ({signature.name}): root digest" in said
    code, said, _ = c2o(capsys, "verify", small, "--signer", BOB, *options, "--json")
    (finding,) = json.loads(said)["findings"]
    assert code == 1 and finding["kind"] == "signature" and f"no valid signature of {BOB}" in finding["message"]
    root = hashlib.sha256((small / "SHA256SUMS").read_bytes()).hexdigest()
    assert f"over the root digest {root}: {signature.name}: " in finding["message"] and not finding["found"]
    code, said, _ = c2o(capsys, "verify", small)
    assert code == 0 and f"a signature lies in {folder}, not checked: name whom you trust with --signer" in said


def test_what_ssh_keygen_signed_by_hand_is_accepted(small: Path, keys: Path, tmp_path: Path) -> None:
    made = keygen("-Y", "sign", "-q", "-f", str(keys / "bob"), "-n", "c2o-bundle", data=statement_of(small).to_bytes())
    path = tmp_path / "by-hand.sshsig"
    path.write_bytes(made.stdout)
    assert check_signatures(small, trust(keys, BOB, signature=path))[0] == []


def test_a_file_that_is_not_listed_leaves_the_statement_as_it_is(small: Path) -> None:
    before = statement_of(small)
    (small / "extra.txt").write_text("more")
    assert statement_of(small) == before


def test_two_signers(small: Path, keys: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("alice", "bob"):
        assert c2o(capsys, "sign", small, "--key", keys / name)[0] == 0
    assert len(list_signatures(small, ".sshsig")) == 2
    for signer in (ALICE, BOB):
        findings, notes = check_signatures(small, trust(keys, signer))
        assert findings == [] and notes[0].startswith(f"signed by {signer}")


def test_a_bundle_that_changed_consistently_has_no_valid_signature(
    small: Path, keys: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    c2o(capsys, "sign", small, "--key", keys / "alice")
    (small / "value.txt").write_text("43\n")
    write_sums(small)
    findings, _ = check_signatures(small, trust(keys, ALICE))
    assert [(item.kind, item.path) for item in findings] == [("signature", "SHA256SUMS")]
    assert "incorrect signature" in findings[0].message


def test_a_signature_of_another_bundle_does_not_hold(
    small: Path, keys: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "elsewhere"
    shutil.copytree(small, other)
    (other / "suite.yaml").write_text("name: other\n")
    write_sums(other)
    c2o(capsys, "sign", other, "--key", keys / "alice")
    assert signatures_dir(other) == tmp_path / "elsewhere.signatures"
    (signature,) = signatures_dir(other).glob("*.sshsig")
    findings, _ = check_signatures(small, trust(keys, ALICE, signature=signature))
    assert [item.kind for item in findings] == ["signature"]


def test_a_renamed_copy_keeps_its_signature(
    small: Path, keys: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    c2o(capsys, "sign", small, "--key", keys / "alice")
    (signature,) = signatures_dir(small).glob("*.sshsig")
    shutil.copytree(small, tmp_path / "renamed copy")
    assert check_signatures(tmp_path / "renamed copy", trust(keys, ALICE, signature=signature))[0] == []


def test_no_signature_is_a_finding(small: Path, keys: Path) -> None:
    findings, _ = check_signatures(small, trust(keys, ALICE))
    assert [item.kind for item in findings] == ["unsigned"]
    assert f"there is no signature of {ALICE} in" in findings[0].message


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ('valid-before="20200101"', "expired"),
        ('valid-after="29990101"', "not yet valid"),
        ('namespaces="git"', "not permitted"),
    ],
)
def test_a_key_counts_only_for_what_and_when_it_is_allowed(
    small: Path, keys: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: str, message: str
) -> None:
    c2o(capsys, "sign", small, "--key", keys / "alice")
    signers = tmp_path / "signers"
    signers.write_text(f"{ALICE} {options} {(keys / 'alice.pub').read_text()}")
    findings, _ = check_signatures(small, Trust(signer=ALICE, allowed_signers=signers))
    assert [item.kind for item in findings] == ["signature"] and message in findings[0].message


def test_a_revoked_key_does_not_count(
    small: Path, keys: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    c2o(capsys, "sign", small, "--key", keys / "alice")
    revoked = tmp_path / "revoked"
    revoked.write_text((keys / "alice.pub").read_text())
    findings, _ = check_signatures(small, trust(keys, ALICE, revoked=revoked))
    assert [item.kind for item in findings] == ["signature"] and "revoked" in findings[0].message


@pytest.mark.parametrize("content", [b"", b"\x00\xff" * 500, b"-----BEGIN SSH SIGNATURE-----\n" + b"A" * 70_000])
def test_a_damaged_signature_file_is_a_finding(small: Path, keys: Path, content: bytes) -> None:
    folder = signatures_dir(small)
    folder.mkdir(parents=True)
    (folder / "x.sshsig").write_bytes(content)
    findings, _ = check_signatures(small, trust(keys, ALICE))
    assert [item.kind for item in findings] == ["signature"] and "x.sshsig: " in findings[0].message


def test_a_pipe_posing_as_a_signature_does_not_hang(small: Path, keys: Path) -> None:
    folder = signatures_dir(small)
    folder.mkdir(parents=True)
    os.mkfifo(folder / "x.sshsig")
    findings, _ = check_signatures(small, trust(keys, ALICE))
    assert "x.sshsig: cannot be read: is not a plain file" in findings[0].message


def test_an_identity_is_never_an_option(small: Path, keys: Path, capsys: pytest.CaptureFixture[str]) -> None:
    c2o(capsys, "sign", small, "--key", keys / "alice")
    findings, _ = check_signatures(small, trust(keys, "-overify-time=20200101"))
    assert [item.kind for item in findings] == ["signature"]


def test_a_bundle_that_does_not_verify_is_not_signed(
    small: Path, keys: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (small / "value.txt").write_text("43\n")
    code, _, said = c2o(capsys, "sign", small, "--key", keys / "alice")
    assert code == 1 and "does not verify, so it is not signed: changed: value.txt" in said
    assert not signatures_dir(small).exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--signer", ALICE, "--allowed-signers", "nosuch"), "nosuch: there is no such file"),
        (("--public-key", "nosuch"), "nosuch: there is no such key; ask the signer for the public key (PEM)"),
        (("--public-key", "SSH"), "is no public key in PEM (-----BEGIN PUBLIC KEY-----); SSH signatures are asked for"),
    ],
)
def test_bad_use_is_said_before_the_bundle_is_read(
    keys: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], message: str
) -> None:
    """A replay takes hours; who mistypes a file shall not learn of it afterwards. Here there is no bundle at all."""
    chosen = [str(keys / "alice.pub") if text == "SSH" else text for text in options]
    code, _, said = c2o(capsys, "verify", tmp_path / "no bundle", "--level", "tables", *chosen)
    assert code == 2 and message in said and "no bundle" not in said


def test_bad_use(small: Path, keys: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    code, _, said = c2o(capsys, "verify", small, "--signer", ALICE)
    assert code == 2 and "say whose key that is with --allowed-signers FILE" in said
    code, _, said = c2o(capsys, "verify", small, "--allowed-signers", keys / "signers")
    assert code == 2 and "say whose signature to ask for: --signer IDENTITY" in said
    c2o(capsys, "sign", small, "--key", keys / "alice")
    code, _, said = c2o(capsys, "verify", small, "--signer", ALICE, "--allowed-signers", "nosuch")
    assert code == 2 and "nosuch: there is no such file; it says whose keys are trusted" in said
    code, _, said = c2o(
        capsys, "verify", small, "--signer", ALICE, "--allowed-signers", keys / "signers", "--revoked", "no"
    )
    assert code == 2 and "no: there is no such file; it says whose keys are trusted" in said
    code, _, said = c2o(capsys, "sign", small, "--key", keys)
    assert code == 2 and f"{keys}: is a directory; name the key's file in it" in said
    code, _, said = c2o(capsys, "sign", small, "--key", keys / "nosuch")
    assert code == 2 and "there is no such key; make one: ssh-keygen -t ed25519" in said
    monkeypatch.setenv("PATH", str(keys))
    code, _, said = c2o(capsys, "sign", small, "--key", keys / "alice")
    assert code == 2 and "ssh-keygen: is not installed; install OpenSSH 8.2 or newer" in said


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--signer", ""), "--signer: is empty; name the identity"),
        (("--signer", " ", "--allowed-signers", "signers"), "--signer: is empty; name the identity"),
        (("--public-key", "k.pub", "--revoked", "keys"), "--revoked are for SSH signatures alone; add --signer"),
    ],
)
def test_an_option_that_would_check_nothing_is_refused(
    small: Path, options: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, said, error = c2o(capsys, "verify", small, *options)
    assert (code, said) == (2, "") and message in error


def test_a_signature_says_nothing_of_another_root_than_the_one_that_was_verified(small: Path, keys: Path) -> None:
    assert main(["sign", str(small), "--key", str(keys / "alice")]) == 0
    root = hashlib.sha256((small / "SHA256SUMS").read_bytes()).hexdigest()
    assert check_signatures(small, trust(keys, ALICE), root)[0] == []
    (finding,), notes = check_signatures(small, trust(keys, ALICE), "0" * 64)
    assert (finding.kind, finding.expected, finding.found, notes) == ("unsafe", "0" * 64, root, [])
    assert "was exchanged after it was verified" in finding.message
