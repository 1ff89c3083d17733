"""A bundle that nobody touched verifies: at both levels, in one process or two, by C2O and by its own verify.py."""

import ast
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from c2o_evidence.errors import EvidenceError
from c2o_evidence.suite import load_resolved_suite
from c2o_evidence.verify import own_files, verify
from c2o_evidence.verify.files import check_files


def test_clean_bundle_verifies(bundle: Path) -> None:
    report = verify(bundle, "tables", jobs=1)
    assert [str(finding) for finding in report.findings] == []
    assert report.counts["runs"] == 12  # 3 rows x 2 train seeds x 2 eval seeds
    assert report.exit_code == 0


def test_two_processes_find_the_same_and_tell_their_progress(bundle: Path) -> None:
    seen: Counter[str] = Counter()

    def progress(phase: str, amount: int) -> None:
        seen[phase] += amount

    report = verify(bundle, "tables", jobs=2, progress=progress)
    assert report.ok
    assert seen == {"files": report.counts["bytes"], "tables": 12}


def test_frozen_bundle_verifies_against_the_ledger(frozen: Path) -> None:
    report = verify(frozen, "tables", jobs=1)
    assert report.ok
    assert report.notes == [
        "measured, so bound by digests alone and not recomputable: timing/timing.tsv, attention/attention.tsv, "
        "train/*/curve.tsv, hosts, tools and times in records"
    ]
    assert json.loads(report.to_json())["verified"] is True


def test_bundle_verifies_anywhere_with_bare_python(bundle: Path, tmp_path: Path) -> None:
    place = bundle.rename(tmp_path / "some where")
    done = subprocess.run(
        [sys.executable, "-S", "-I", place / "verify.py"], cwd="/", capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    files = len((place / "SHA256SUMS").read_text().splitlines())
    assert done.stdout.startswith(f"verified: {files} files, ") and "12 runs" in done.stdout
    assert verify(place).root_digest in done.stdout
    command = [sys.executable, "-S", "-I", place / "verify.py", tmp_path / "nosuch"]
    other = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
    )
    assert other.returncode == 2 and "No such file" in other.stderr


def test_verifier_runs_on_python_3_9_with_the_standard_library_alone(bundle: Path) -> None:
    tree = ast.parse((bundle / "verify.py").read_text(), feature_version=(3, 9))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            assert {alias.name for alias in node.names} <= sys.stdlib_module_names
        elif isinstance(node, ast.ImportFrom):
            assert str(node.module).split(".")[0] in sys.stdlib_module_names


def test_bare_verifier_recomputes_means_and_binds_checkpoints(bundle: Path) -> None:
    """With digests that fit, an edited mean, run or checkpoint digest is still found."""
    from c2o_evidence.bundle import write_sha256sums

    def edit(path: str, column: str) -> None:
        lines = [line.split("\t") for line in (bundle / path).read_text().splitlines()]
        cell = lines[1][lines[0].index(column)]
        lines[1][lines[0].index(column)] = "0" * 64 if len(cell) == 64 else "1.5"
        (bundle / path).write_text("".join("\t".join(line) + "\n" for line in lines))

    edit("tables/summary.tsv", "std_AP_pop")
    edit("manifest.tsv", "mean_AP")
    edit("manifest.tsv", "results_sha256")
    edit("tables/runs.tsv", "ckpt_sha256")
    write_sha256sums(bundle)
    command = [sys.executable, "-S", "-I", bundle / "verify.py", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    found = {(item["kind"], item["path"], item["column"]) for item in json.loads(done.stdout)["findings"]}
    assert found == {
        ("row-edited", "tables/summary.tsv", "std_AP_pop"),
        ("row-edited", "manifest.tsv", "mean_AP"),
        ("stale", "manifest.tsv", "results_sha256"),
        ("stale", "tables/runs.tsv", "ckpt_sha256"),
        ("row-edited", "tables/runs.tsv", ""),  # no evaluation wrote this row
        ("row-missing", "tables/runs.tsv", ""),
    }


def test_a_file_that_cannot_be_written_again_is_said_to_be_uncompared(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(root: Path, *_: object) -> str:
        raise EvidenceError(f"{root}/tables/summary.tsv: no")

    monkeypatch.setattr(own_files, "render_report", fail)
    monkeypatch.setattr(own_files, "crate_document", fail)
    suite, digests = load_resolved_suite(bundle / "suite.yaml"), check_files(bundle).found
    findings, notes = own_files.check_own(bundle, suite, digests)
    why = "was not compared: it cannot be written again: tables/summary.tsv: no"
    assert (findings, notes) == ([], [f"report.html {why}", f"ro-crate-metadata.json {why}"])
