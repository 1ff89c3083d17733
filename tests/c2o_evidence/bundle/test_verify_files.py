"""Level `files`: each way to damage a bundle gives its own finding, from `c2o verify` and from the bundle's
verify.py.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from c2o_evidence.sums import format_sums, parse_sums
from c2o_evidence.verify import Finding, verify

MODEL = "train/baseline/seed0/model.safetensors"
RESULTS = "eval/baseline/seed0/results.tsv"


def standalone(bundle: Path) -> tuple[int, list[dict]]:
    """Runs the bundle's own verifier as a stranger would: no site-packages, no environment."""
    command = [sys.executable, "-S", "-I", str(bundle / "verify.py"), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return done.returncode, json.loads(done.stdout)["findings"]


def found(bundle: Path) -> list[tuple[str, str]]:
    """(kind, path) of all findings at level `files`; both verifiers must agree on them."""
    findings = verify(bundle).findings
    pairs = sorted((finding.kind, finding.path) for finding in findings)
    if (bundle / "verify.py").is_file():
        code, others = standalone(bundle)
        assert code == (1 if findings else 0)
        assert {(item["kind"], item["path"]) for item in others} >= set(pairs)
    return pairs


def test_clean(bundle: Path) -> None:
    assert found(bundle) == []


def test_flipped_bit(bundle: Path) -> None:
    data = bytearray((bundle / MODEL).read_bytes())
    data[-1] ^= 1
    (bundle / MODEL).write_bytes(data)
    assert found(bundle) == [("changed", MODEL), ("stale", f"{MODEL}.sha256")]
    finding = next(finding for finding in verify(bundle).findings if finding.kind == "changed")
    assert len(finding.expected) == len(finding.found) == 64 and finding.expected != finding.found
    assert "its content is not the one that was listed" in str(finding)


def test_truncated(bundle: Path) -> None:
    data = (bundle / MODEL).read_bytes()
    (bundle / MODEL).write_bytes(data[: len(data) // 2])
    assert ("changed", MODEL) in found(bundle)


def test_deleted(bundle: Path) -> None:
    (bundle / RESULTS).unlink()
    assert found(bundle) == [("missing", RESULTS)]


def test_added(bundle: Path) -> None:
    (bundle / "train" / "notes.txt").write_text("hello")
    (bundle / "more" / "below").mkdir(parents=True)
    assert [pair for pair in found(bundle) if "below" not in pair[1]] == [
        ("extra", "more"),
        ("extra", "train/notes.txt"),
    ]


def test_snakemakes_empty_timestamp_is_no_extra(bundle: Path) -> None:
    (bundle / ".snakemake_timestamp").touch()
    assert found(bundle) == []
    (bundle / ".snakemake_timestamp").write_text("x")
    assert found(bundle) == [("extra", ".snakemake_timestamp")]


def test_symlink_to_the_same_content(bundle: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside.tsv"
    (bundle / RESULTS).rename(outside)
    (bundle / RESULTS).symlink_to(outside)
    assert ("unsafe", RESULTS) in found(bundle)


def test_symlinked_directory_is_not_entered(bundle: Path, tmp_path: Path) -> None:
    (bundle / "figures").rename(tmp_path / "figures")
    (bundle / "figures").symlink_to(tmp_path / "figures")
    pairs = found(bundle)
    assert ("unsafe", "figures") in pairs
    assert ("missing", "figures/summary_strip.svg") in pairs


def test_pipe(bundle: Path) -> None:
    os.mkfifo(bundle / "pipe")
    assert found(bundle) == [("unsafe", "pipe")]


@pytest.mark.parametrize("path", ["../outside.txt", "/etc/passwd", "train/../../x", "a\\b", "./README.md"])
def test_path_that_leaves_the_bundle_is_not_opened(bundle: Path, path: str) -> None:
    with (bundle / "SHA256SUMS").open("a") as stream:
        stream.write(f"{'0' * 64}  {path}\n")
    assert found(bundle) == [("unsafe", "SHA256SUMS")]
    assert repr(path) in verify(bundle).findings[0].message


def test_listed_twice_and_damaged_lines(bundle: Path) -> None:
    sums = bundle / "SHA256SUMS"
    sums.write_text(sums.read_text() + sums.read_text().split("\n")[0] + "\nno digest  README.md\n")
    rows = [(finding.kind, finding.row) for finding in verify(bundle).findings]
    lines = sums.read_text().count("\n")
    assert rows == [("malformed", f"line {lines - 1}"), ("malformed", f"line {lines}")]


def test_two_checkpoints_swapped(bundle: Path) -> None:
    first, second = bundle / MODEL, bundle / MODEL.replace("seed0", "seed1")
    one, two = first.read_bytes(), second.read_bytes()
    first.write_bytes(two)
    second.write_bytes(one)
    swapped = [finding for finding in verify(bundle).findings if finding.kind == "swapped"]
    assert [finding.path for finding in swapped] == [MODEL, MODEL.replace("seed0", "seed1")]
    assert "train seeds 0 and 1 are swapped" in swapped[0].message
    assert ("swapped", MODEL) in found(bundle)


def test_copy_over_another(bundle: Path) -> None:
    other = MODEL.replace("seed0", "seed1")
    (bundle / other).write_bytes((bundle / MODEL).read_bytes())
    finding = next(finding for finding in verify(bundle).findings if finding.path == other)
    assert (finding.kind, finding.message) == ("changed", f"carries the content of {MODEL}")


def test_sidecar_that_does_not_fit(bundle: Path, reseal: Callable[[Path], None]) -> None:
    (bundle / f"{MODEL}.sha256").write_text(f"{'0' * 64}  model.safetensors\n")
    reseal(bundle)
    assert found(bundle) == [("stale", f"{MODEL}.sha256")]


def test_another_bundle_than_the_frozen_one(frozen: Path, reseal: Callable[[Path], None]) -> None:
    (frozen / "README.md").chmod(0o644)
    (frozen / "README.md").write_text("hello")
    (frozen / "SHA256SUMS").chmod(0o644)
    reseal(frozen)
    (finding,) = verify(frozen).findings
    assert (finding.kind, finding.path) == ("stale", "SHA256SUMS")
    assert "is not the list that was frozen (revision 1)" in finding.message


def test_listing_works_with_sha256sum(bundle: Path) -> None:
    subprocess.run(["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=bundle, check=True)


def test_finding_text_names_file_row_column() -> None:
    finding = Finding("row-edited", "tables/summary.tsv", "does not follow", "exp_id=a", "mean_AP", "1.0", "2.0")
    assert str(finding) == (
        "row-edited: tables/summary.tsv: row exp_id=a: column mean_AP: does not follow (expected 1.0, found 2.0)"
    )


PARTS = st.text(st.characters(codec="utf-8", exclude_characters="/\\\x00"), min_size=1, max_size=8)
DIGESTS = st.text("0123456789abcdef", min_size=64, max_size=64)


@given(st.dictionaries(st.lists(PARTS, min_size=1, max_size=3).map("/".join), DIGESTS, max_size=8))
def test_sums_read_back(digests: dict[str, str]) -> None:
    try:
        text = format_sums(digests)
    except ValueError:
        return  # a name that has no place in a bundle, e.g. '..'
    assert parse_sums(text.encode()) == (digests, [])


@given(st.binary(max_size=300))
def test_sums_of_garbage_never_give_an_unsafe_path(data: bytes) -> None:
    digests, _ = parse_sums(data)
    for path in digests:
        assert not path.startswith("/") and ".." not in path.split("/")
