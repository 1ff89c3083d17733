"""The command line: exit codes, messages without tracebacks, nothing heavy loaded before it is needed."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from c2o_evidence.cli import find_root, main

REPOSITORY = Path(__file__).parents[3]


def c2o(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_help_teaches_and_is_quick() -> None:
    command = [sys.executable, "-m", "c2o_evidence.cli", "--help"]
    took = []
    for _ in range(3):
        start = time.perf_counter()
        done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
        took.append(time.perf_counter() - start)
    assert "c2o verify deliverables/step1_5seed" in done.stdout
    assert min(took) < 0.3


@pytest.mark.parametrize("command", ["verify", "status", "show", "run", "tables"])
def test_every_command_has_examples(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    assert f"c2o {command}" in capsys.readouterr().out


def test_level_files_loads_nothing_heavy(bundle: Path) -> None:
    code = (
        "import sys; from c2o_evidence.cli import main; code = main(['verify', sys.argv[1]]);"
        "heavy = {'torch', 'numpy', 'scipy', 'pandas', 'matplotlib', 'pycocotools', 'jinja2', 'rich', 'jsonschema'};"
        "loaded = heavy & set(sys.modules); sys.exit(code or (str(loaded) if loaded else 0))"
    )
    done = subprocess.run([sys.executable, "-c", code, bundle], cwd=REPOSITORY, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "verified: " in done.stdout and "root digest: " in done.stdout


def test_verify_fails_with_findings(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (bundle / "README.md").unlink()
    code, out, _ = c2o(capsys, "verify", bundle)
    assert code == 1
    assert "missing: README.md: is listed in SHA256SUMS but not there" in out
    assert "FAILED: " in out and "1 missing" in out
    code, out, _ = c2o(capsys, "verify", bundle, "--json")
    report = json.loads(out)
    assert code == 1 and report["verified"] is False and report["kinds"] == {"missing": 1}
    assert report["findings"][0]["path"] == "README.md"


def test_verify_without_a_path_takes_every_frozen_one(frozen: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = frozen.parent.parent
    code, out, _ = c2o(capsys, "--root", root, "verify")
    assert code == 0 and "deliverables/toy" in out
    assert json.loads(c2o(capsys, "--root", root, "verify", "--json")[1])[0]["verified"] is True
    (frozen / "README.md").chmod(0o644)
    (frozen / "README.md").write_text("x")
    assert c2o(capsys, "--root", root, "verify")[0] == 1
    (root / "manifests" / "deliverables.tsv").unlink()
    code, _, err = c2o(capsys, "--root", root, "verify")
    assert code == 2 and "no ledger knows what lies in deliverables/; give the path of a bundle, e.g. " in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--root", "BUNDLE", "verify", "BUNDLE", "--level", "eval"], "runs the workflow of a checkout, and"),
        (["--root", "BUNDLE", "verify", "BUNDLE", "--level", "train"], "or name one: c2o --root DIR verify"),
        (["verify", "nosuch"], "nosuch: is not a directory; give a bundle"),
        (["verify", "BUNDLE/tables"], "has no SHA256SUMS, so it is no bundle"),
        (["verify", "BUNDLE", "--ledger", "nosuch.tsv"], "nosuch.tsv: there is no such ledger"),
        (["--root", "BUNDLE", "verify"], "nothing is frozen here yet"),
        (["--root", "BUNDLE", "status"], "has no configs/suites"),
        (["--root", "BUNDLE", "show", "nosuch"], "nosuch: is no file, and no suite with results here"),
        (["--root", "BUNDLE", "run", "nosuch"], "nosuch"),
        (["show", "BUNDLE/report.html"], "is not a TSV, a record"),
    ],
)
def test_bad_use(bundle: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    code, _, err = c2o(capsys, *(text.replace("BUNDLE", str(bundle)) for text in arguments))
    assert code == 2
    assert err.startswith("c2o ") and message in err and "Traceback" not in err


def test_show_follows_a_number_to_its_checkpoint(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = c2o(capsys, "--root", root, "show", "toy")
    assert code == 0 and "Baseline, 1 step" in out and "not distinguishable at n = 2" in out
    code, out, _ = c2o(capsys, "--root", root, "show", "toy:student_1")
    digest = (root / "results/toy/train/student/seed1/model.safetensors.sha256").read_text().split()[0]
    assert code == 0 and digest in out
    code, out, _ = c2o(capsys, "--root", root, "show", "toy:student_1:1:0")
    assert code == 0 and digest in out and "the file has it now" in out
    assert "train/baseline/seed1/model.safetensors" in out  # what the student was trained from
    (root / "results/toy/train/student/seed1/model.safetensors").write_bytes(b"x")
    code, out, _ = c2o(capsys, "--root", root, "show", "toy:student_1:1:0")
    assert code == 1 and "BUT THE FILE HAS" in out


def test_no_jobs_is_bad_use(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        c2o(capsys, "verify", bundle, "--jobs", "0")
    assert ended.value.code == 2
    assert "argument --jobs: 0 is no number of jobs; give 1 or more" in capsys.readouterr().err


def test_show_takes_a_bundle_anywhere_and_proposes_what_works(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Who has a bundle and no checkout walks the same way: each command that is proposed is typed as it stands."""
    code, out, _ = c2o(capsys, "show", bundle)
    proposed = out.strip().rsplit("\n", 1)[1].split("c2o show ")[1]
    assert code == 0 and proposed == f"{bundle}:base_1"
    code, out, _ = c2o(capsys, "show", proposed)
    proposed = out.strip().rsplit("\n", 1)[1].split("c2o show ")[1]
    assert code == 0 and proposed == f"{bundle}:base_1:0:0"
    code, out, _ = c2o(capsys, "show", proposed)
    assert code == 0 and "the file has it now" in out


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("toy:nosuch", "'nosuch' is not a row of toy; known: base_1, base_4, student_1"),
        ("toy:base_1:0", "is not SUITE, SUITE:EXP_ID or"),
        ("toy:base_1:0:9", "train seed 0 with eval seed 9 was not run"),
    ],
)
def test_show_says_what_there_is(root: Path, capsys: pytest.CaptureFixture[str], what: str, message: str) -> None:
    code, _, err = c2o(capsys, "--root", root, "show", what)
    assert code == 2 and message in err


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("tables/runs.tsv", "base_1"),
        ("train/student/seed0/record.json", '"rule": "distill"'),
        ("train/student/seed0/model.safetensors", "train_seed"),
    ],
)
def test_show_file(root: Path, capsys: pytest.CaptureFixture[str], path: str, text: str) -> None:
    code, out, _ = c2o(capsys, "show", root / "results" / "toy" / path)
    assert code == 0 and text in out


def test_status(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = c2o(capsys, "--root", root, "status")
    assert code == 0 and "12 of 12" in out and "not frozen" in out
    (root / "results/toy/train/student/seed1/record.json").unlink()
    state = root / "results/.state/toy/student/seed1/progress.json"
    state.parent.mkdir(parents=True)
    state.write_text('{"iteration": 5, "total": 20, "loss": 1.0, "seconds_per_iteration": 1, "pid": 4194305}')
    code, out, _ = c2o(capsys, "--root", root, "status", "toy")
    assert code == 0 and "11 of 12 jobs done" in out and "stopped at 5/20; a re-run resumes it" in out


def test_tables_check(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert c2o(capsys, "--root", root, "tables", "--suite", "toy", "--check")[0] == 0
    path = root / "results/toy/tables/summary.md"
    path.write_text("edited")
    code, out, _ = c2o(capsys, "--root", root, "tables", "--suite", "toy", "--check")
    assert code == 1 and "would change: results/toy/tables/summary.md" in out
    assert path.read_text() == "edited"
    assert c2o(capsys, "--root", root, "tables", "--suite", "toy")[0] == 0
    assert path.read_text() != "edited"


def test_root_is_found_from_below(root: Path) -> None:
    assert find_root(root / "configs" / "suites") == root


@pytest.mark.parametrize("jobs", ["0", "-1", "two"])
def test_jobs_are_a_number_from_one_on(jobs: str, bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["verify", str(bundle), "--jobs", jobs])
    assert ended.value.code == 2 and "argument --jobs: " in capsys.readouterr().err
