"""Links, pipes, devices, holes and depths in a bundle, and files that are exchanged or written while they are read."""

import hashlib
import os
import socket
import stat
import time
from pathlib import Path

import pytest

from c2o_evidence.errors import DigestError, TableError
from c2o_evidence.limits import MAX_DEPTH
from c2o_evidence.plain_file import NotPlain, open_plain, read_plain, stamp
from c2o_evidence.tsv import read_tsv
from c2o_evidence.verify import verify
from c2o_evidence.verify.files import check_files, hash_file, hash_files, walk
from tests.drills.sandbox import MODEL, RECORD, STANDALONE, Sandbox, seal

SECRET = "a secret that no bundle may make anyone read"


@pytest.mark.parametrize("target", ["../outside", "/etc/passwd", "/dev/zero", "README.md", "link", "train", "nowhere"])
@pytest.mark.parametrize("name", ["link", MODEL, "train/baseline/seed0", "SHA256SUMS"])
def test_a_symbolic_link_is_refused(sandbox: Sandbox, bundle: Path, name: str, target: str) -> None:
    (bundle.parent / "outside").write_text(SECRET)
    path = bundle / name
    if path.is_dir():
        path.rename(bundle.parent / "moved")
    else:
        path.unlink(missing_ok=True)
    path.symlink_to(target)
    refused = sandbox.refuses("unsafe" if name != "SHA256SUMS" else "symbolic link", "verify", str(bundle))
    assert SECRET not in refused.text
    sandbox.refuses("", str(bundle), script=STANDALONE)


@pytest.mark.parametrize("name", ["pipe", MODEL, RECORD, "tables/runs.tsv", "suite.yaml", "SHA256SUMS"])
def test_a_pipe_keeps_nobody_waiting(sandbox: Sandbox, bundle: Path, name: str) -> None:
    (bundle / name).unlink(missing_ok=True)
    os.mkfifo(bundle / name)
    sandbox.verify(bundle, "no bundle" if name == "SHA256SUMS" else "is a pipe", "not a plain file")
    sandbox.refuses("", "verify", str(bundle), "--level", "tables", "--jobs", "1")
    if name.startswith("tables"):
        sandbox.refuses("is not a plain file", "show", f"{bundle}:base_1")


@pytest.mark.parametrize("kind", [stat.S_IFCHR, stat.S_IFBLK])
def test_a_device_is_refused(sandbox: Sandbox, bundle: Path, kind: int) -> None:
    try:
        os.mknod(bundle / "device", kind | 0o600, os.makedev(1, 5))  # as a character device: /dev/zero
    except PermissionError:
        pytest.skip("only root makes devices")
    sandbox.verify(bundle, "is a device", "not a plain file")


def test_a_socket_is_refused(sandbox: Sandbox, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(bundle)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        sandbox.verify(bundle, "is a socket", "not a plain file")
        with pytest.raises(NotPlain, match="is not a plain file"):
            open_plain("socket")


def test_a_hard_link_is_a_file(sandbox: Sandbox, bundle: Path) -> None:
    """Nothing tells it from a copy but a count; its content is hashed as any other, and freezing copies it."""
    outside = bundle.parent / "outside"
    (bundle / "README.md").rename(outside)
    os.link(outside, bundle / "README.md")
    assert sandbox.run("verify", str(bundle)).code == 0


def test_ten_thousand_levels(sandbox: Sandbox, bundle: Path) -> None:
    place = os.open(bundle, os.O_RDONLY)
    for _ in range(10_000):
        os.mkdir("d", dir_fd=place)
        below = os.open("d", os.O_RDONLY, dir_fd=place)
        os.close(place)
        place = below
    os.close(place)
    sandbox.verify(bundle, f"a directory more than {MAX_DEPTH} levels deep", "directories deep")


def test_a_directory_of_a_hundred_thousand_files(
    sandbox: Sandbox, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limit is counted, not waited for: here it is set low, in the process that looks."""
    monkeypatch.setattr("c2o_evidence.verify.files.MAX_FILES", 50)
    tree = walk(bundle)
    assert len(tree.files) + len(tree.directories) <= 50
    assert [what for what in tree.unsafe.values() if "more than 50 files" in what]
    assert "unsafe" in verify(bundle).kinds()


@pytest.mark.parametrize("name", [MODEL, "tables/runs.tsv", RECORD, "data/val.json", "suite.yaml"])
@pytest.mark.parametrize("size", [1 << 40, 40 << 30])
def test_a_file_that_is_all_hole(sandbox: Sandbox, bundle: Path, name: str, size: int) -> None:
    """40 GB of zeros take a minute to hash, 1 TB half an hour, and cost whoever sends them nothing."""
    with (bundle / name).open("r+b") as stream:
        stream.truncate(size)
    sandbox.verify(bundle, "more than" if size == 1 << 40 else "sparse file", "sparse file")


def test_a_listed_file_that_nobody_may_read(bundle: Path) -> None:
    """As another user than root; root reads everything."""
    (bundle / "README.md").chmod(0)
    kinds = verify(bundle).kinds()
    assert kinds == ({} if os.geteuid() == 0 else {"missing": 1})


def exchange(path: Path, how: str) -> None:
    path.rename(path.with_name("kept"))
    if how == "link":
        path.symlink_to("kept")
    elif how == "pipe":
        os.mkfifo(path)
    elif how == "copy":
        path.write_bytes(path.with_name("kept").read_bytes())
    else:
        path.mkdir()


@pytest.mark.parametrize("how", ["link", "pipe", "copy", "directory"])
def test_exchanged_between_listing_and_reading(bundle: Path, how: str) -> None:
    tree = walk(bundle)
    exchange(bundle / MODEL, how)
    digests, errors = hash_files(bundle, {MODEL: tree.files[MODEL]}, stamps=tree.stamps)
    assert not digests and isinstance(errors[MODEL], NotPlain)


def test_a_directory_becomes_a_link_between_listing_and_reading(bundle: Path) -> None:
    """The link is not in the last part of the path, where O_NOFOLLOW would see it; the file behind it is another."""
    tree = walk(bundle)
    folder = (bundle / MODEL).parent
    outside = bundle.parent / "outside"
    outside.mkdir()
    (outside / "model.safetensors").write_bytes((bundle / MODEL).read_bytes())
    folder.rename(bundle.parent / "moved")
    folder.symlink_to(outside)
    _, errors = hash_files(bundle, {MODEL: tree.files[MODEL]}, stamps=tree.stamps)
    assert "was exchanged" in str(errors[MODEL])


def test_a_file_that_grows_is_not_read_forever(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"x" * 4096)

    def append(_count: int) -> None:
        with path.open("ab") as stream:
            stream.write(b"x" * (1 << 16))

    with pytest.raises(NotPlain, match="grew while it was read"):
        hash_file(path, append)


def test_written_with_its_times_set_back(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    before = os.stat(path)
    time.sleep(0.02)  # longer than a tick of the file system's clock
    path.write_bytes(b"new")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(NotPlain, match="was exchanged"):
        hash_file(path, expected=stamp(before))


def test_written_while_the_tables_are_recomputed(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from c2o_evidence.verify import tables

    honest = tables.check_tables

    def check(*arguments: object, **named: object) -> object:
        result = honest(*arguments, **named)  # type: ignore[arg-type]
        (bundle / "README.md").write_text("another one")
        return result

    monkeypatch.setattr(tables, "check_tables", check)
    (finding,) = verify(bundle, "tables", jobs=1).findings
    assert (finding.kind, finding.path) == ("unsafe", "README.md")
    assert finding.message.startswith("changed while the bundle was verified")


def test_readers_outside_of_bundles_do_not_wait_either(sandbox: Sandbox, tmp_path: Path) -> None:
    pipe = tmp_path / "runs.tsv"
    os.mkfifo(pipe)
    with pytest.raises(TableError, match="is not a plain file"):
        read_tsv(pipe, "results")
    with pytest.raises(NotPlain):
        read_plain("/dev/zero", 10)
    for name in ("a.tsv", "a.json", "a.safetensors"):
        with (tmp_path / name).open("wb") as stream:
            stream.truncate(1 << 40)
    sandbox.refuses("more than the limit", "show", str(tmp_path / "a.tsv"))
    sandbox.refuses("more than the limit", "show", str(tmp_path / "a.json"))
    sandbox.refuses("verify", "verify", str(tmp_path), "--ledger", str(pipe))


def test_freezing_copies_no_link_and_waits_for_no_pipe(bundle: Path, tmp_path: Path) -> None:
    from c2o_evidence.errors import EvidenceError
    from c2o_evidence.freeze import freeze

    (tmp_path / "secret").write_text(SECRET)
    digest = hashlib.sha256(SECRET.encode()).hexdigest()
    (bundle / "way").symlink_to(tmp_path)
    seal(bundle, **{"way/secret": digest})
    with pytest.raises(EvidenceError, match="a link leads out of its directory"):
        freeze(bundle, tmp_path / "deliverables" / "toy", tmp_path / "ledger.tsv")
    (bundle / "way").unlink()
    os.mkfifo(bundle / "pipe")
    seal(bundle, pipe=digest)
    with pytest.raises(EvidenceError, match="pipe: is missing or not a plain file"):
        freeze(bundle, tmp_path / "deliverables" / "toy", tmp_path / "ledger.tsv")
    assert not (tmp_path / "deliverables" / "toy").exists()
    with pytest.raises(DigestError):
        hash_missing(tmp_path)


def hash_missing(place: Path) -> None:
    from c2o_evidence.digests import sha256_file

    sha256_file(place / "deliverables" / "toy" / "README.md")


def test_a_list_that_is_exchanged_for_a_device(bundle: Path) -> None:
    (bundle / "SHA256SUMS").unlink()
    (bundle / "SHA256SUMS").symlink_to("/dev/zero")
    result = check_files(bundle)
    assert [(finding.kind, finding.path) for finding in result.findings] == [("unsafe", "SHA256SUMS")]
