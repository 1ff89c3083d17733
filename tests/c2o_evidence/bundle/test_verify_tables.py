"""Level `tables`: an edit that was hidden by new digests is found, and named by file, row and column."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from c2o_evidence.digests import write_sidecar
from c2o_evidence.verify import Finding, verify
from c2o_evidence.verify.compare import compare_text

Reseal = Callable[[Path], None]
RESULTS = "eval/baseline/seed0/results.tsv"


def check(bundle: Path, reseal: Reseal) -> list[Finding]:
    """Findings of level `tables` in a bundle whose SHA256SUMS was made to fit: level `files` sees nothing.

    Besides the edited place, the record of the job that wrote the file does not fit any more, and where results were
    edited, their digest in the manifest: tests look at the findings of one file with `only`.
    """
    reseal(bundle)
    assert verify(bundle).ok
    report = verify(bundle, "tables", jobs=1)
    assert report.exit_code == (1 if report.findings else 0)
    return report.findings


def lines_of(path: Path) -> list[list[str]]:
    return [line.split("\t") for line in path.read_text().rstrip("\n").split("\n")]


def write_lines(path: Path, lines: list[list[str]]) -> None:
    path.write_text("".join("\t".join(line) + "\n" for line in lines))


def edit(path: Path, row: int, column: str, value: str) -> str:
    """Puts `value` into a cell and returns what was there."""
    lines = lines_of(path)
    index = lines[0].index(column)
    old, lines[row][index] = lines[row][index], value
    write_lines(path, lines)
    return old


def only(findings: list[Finding], path: str) -> list[Finding]:
    return [finding for finding in findings if finding.path == path]


@pytest.mark.parametrize(
    ("path", "column", "row", "place"),
    [
        (RESULTS, "AP", 1, "exp_name=base_1, train_seed=0, eval_seed=0"),
        (RESULTS, "AP-dog", 2, "exp_name=base_1, train_seed=0, eval_seed=1"),
        ("tables/runs.tsv", "AP75", 1, "exp_name=base_1, train_seed=0, eval_seed=0"),
        ("tables/summary.tsv", "mean_AP", 3, "exp_id=student_1"),
        ("tables/summary.tsv", "speedup", 3, "exp_id=student_1"),
        ("tables/summary.tsv", "ci95_high", 1, "exp_id=base_1"),
        ("tables/main.tsv", "mean_AP", 1, "method=Baseline, exp_id=base_1"),
        ("tables/comparisons.tsv", "p_value", 1, "a=student_1, b=base_1, metric=AP"),
        ("manifest.tsv", "std_AP_pop", 1, "exp_id=base_1, train_seed=0"),
    ],
)
def test_edited_cell(bundle: Path, reseal: Reseal, path: str, column: str, row: int, place: str) -> None:
    old = edit(bundle / path, row, column, "0.9375")
    (finding,) = only(check(bundle, reseal), path)
    assert (finding.kind, finding.row, finding.column) == ("row-edited", place, column)
    assert (finding.expected, finding.found) == (old, "0.9375")


def test_last_digit_of_a_cell(bundle: Path, reseal: Reseal) -> None:
    old = lines_of(bundle / RESULTS)[1][9]
    edit(bundle / RESULTS, 1, "AP", old[:-1] + ("1" if old[-1] != "1" else "2"))
    assert [finding.kind for finding in only(check(bundle, reseal), RESULTS)] == ["row-edited"]


@pytest.mark.parametrize("path", ["tables/summary.md", "tables/main.md", "tables/summary.tex", "report.html"])
def test_edited_text(bundle: Path, reseal: Reseal, path: str) -> None:
    text = (bundle / path).read_text()
    assert "29.84" in text
    (bundle / path).write_text(text.replace("29.84", "39.84"))
    findings = only(check(bundle, reseal), path)
    assert {finding.kind for finding in findings} == {"row-edited"}
    assert "29.84" in findings[0].expected and "39.84" in findings[0].found
    assert findings[0].row.startswith("line ")


def test_edit_carried_through_every_table(root: Path, bundle: Path, reseal: Reseal) -> None:
    """AP raised in the results and everything above made again from it: the detections still know better."""
    edit(bundle / RESULTS, 1, "AP", "99.5")
    edit(bundle / "tables" / "runs.tsv", 1, "AP", "99.5")
    findings = check(bundle, reseal)
    edited = [finding for finding in findings if finding.kind == "row-edited" and finding.path != "report.html"]
    assert "report.html" in {finding.path for finding in findings}  # it shows every run
    assert [(finding.path, finding.column) for finding in edited] == [(RESULTS, "AP"), ("tables/runs.tsv", "AP")]
    stale = [(finding.path, finding.column or finding.row) for finding in findings if finding.kind == "stale"]
    assert ("eval/baseline/seed0/record.json", "sha256") in stale
    assert ("manifest.tsv", "results_sha256") in stale


def test_removed_row(bundle: Path, reseal: Reseal) -> None:
    lines = lines_of(bundle / RESULTS)
    write_lines(bundle / RESULTS, lines[:2] + lines[3:])
    (finding,) = only(check(bundle, reseal), RESULTS)
    assert finding.kind == "row-missing"
    assert finding.row == "exp_name=base_1, train_seed=0, eval_seed=1"


def test_rows_swapped_between_eval_seeds(bundle: Path, reseal: Reseal) -> None:
    lines = lines_of(bundle / RESULTS)
    seed = lines[0].index("eval_seed")
    lines[1], lines[2] = lines[2], lines[1]
    lines[1][seed], lines[2][seed] = "0", "1"
    write_lines(bundle / RESULTS, lines)
    findings = only(check(bundle, reseal), RESULTS)
    assert [finding.kind for finding in findings] == ["swapped-between-seeds"] * 2
    assert findings[0].message == "holds the values of exp_name=base_1, train_seed=0, eval_seed=1"


def test_rows_swapped_between_train_seeds(bundle: Path, reseal: Reseal) -> None:
    """The numbers of two checkpoints change places in the table of all runs."""
    path = bundle / "tables" / "runs.tsv"
    lines = lines_of(path)
    start = lines[0].index("AP")
    lines[1][start:], lines[3][start:] = lines[3][start:], lines[1][start:]
    write_lines(path, lines)
    findings = only(check(bundle, reseal), "tables/runs.tsv")
    assert [finding.kind for finding in findings] == ["swapped-between-seeds"] * 2
    assert findings[0].row == "exp_name=base_1, train_seed=0, eval_seed=0"
    assert findings[0].message == "holds the values of exp_name=base_1, train_seed=1, eval_seed=0"


def test_reordered_rows(bundle: Path, reseal: Reseal) -> None:
    path = bundle / "tables" / "summary.tsv"
    lines = lines_of(path)
    write_lines(path, [lines[0], lines[2], lines[1], lines[3]])
    (finding,) = only(check(bundle, reseal), "tables/summary.tsv")
    assert finding.kind == "row-reordered"
    assert (finding.expected, finding.found) == ("exp_id=base_1", "exp_id=base_4")


def test_seed_used_twice(bundle: Path, reseal: Reseal) -> None:
    lines = lines_of(bundle / RESULTS)
    write_lines(bundle / RESULTS, [*lines[:2], lines[1], *lines[3:]])
    findings = only(check(bundle, reseal), RESULTS)
    assert [(finding.kind, finding.row) for finding in findings] == [
        ("used-twice", "exp_name=base_1, train_seed=0, eval_seed=0"),
        ("row-missing", "exp_name=base_1, train_seed=0, eval_seed=1"),
    ]


def test_extra_row(bundle: Path, reseal: Reseal) -> None:
    lines = lines_of(bundle / RESULTS)
    extra = list(lines[1])
    extra[lines[0].index("eval_seed")] = "7"
    write_lines(bundle / RESULTS, [*lines, extra])
    assert [(finding.kind, finding.row) for finding in only(check(bundle, reseal), RESULTS)] == [
        ("row-extra", "exp_name=base_1, train_seed=0, eval_seed=7")
    ]


def test_checkpoints_swapped_with_everything_made_to_fit(bundle: Path, reseal: Reseal) -> None:
    first = bundle / "train/baseline/seed0/model.safetensors"
    second = bundle / "train/baseline/seed1/model.safetensors"
    one, two = first.read_bytes(), second.read_bytes()
    first.write_bytes(two)
    second.write_bytes(one)
    write_sidecar(first)
    write_sidecar(second)
    findings = check(bundle, reseal)
    model = [f for f in findings if f.path == "train/baseline/seed0/model.safetensors"]
    assert [(f.kind, f.column) for f in model] == [("swapped", "recipe_sha256"), ("swapped", "train_seed")]
    assert (model[1].expected, model[1].found) == ("0", "1")
    cell = next(f for f in findings if f.path == RESULTS and f.column == "ckpt_sha256")
    assert cell.kind == "swapped"
    assert cell.message == "is the digest of train/baseline/seed1/model.safetensors"


def test_one_checkpoint_for_two_seeds(bundle: Path, reseal: Reseal) -> None:
    source, target = (bundle / f"train/baseline/seed{seed}/model.safetensors" for seed in (0, 1))
    target.write_bytes(source.read_bytes())
    write_sidecar(target)
    kinds = {(finding.kind, finding.path) for finding in check(bundle, reseal)}
    assert ("used-twice", "train/baseline/seed1/model.safetensors") in kinds


def test_one_set_of_detections_for_two_seeds(bundle: Path, reseal: Reseal) -> None:
    source, target = (bundle / f"eval/baseline/seed{seed}/detections.safetensors" for seed in (0, 1))
    target.write_bytes(source.read_bytes())
    findings = only(check(bundle, reseal), "eval/baseline/seed1/detections.safetensors")
    assert {finding.kind for finding in findings} == {"swapped", "used-twice"}
    twice = next(finding for finding in findings if finding.kind == "used-twice")
    assert twice.message == "its detections are those of exp_name=base_1, train_seed=0, eval_seed=0"


def test_config_that_is_not_the_one_trained_with(bundle: Path, reseal: Reseal) -> None:
    path = bundle / "train/baseline/seed0/config.yaml"
    path.write_text(path.read_text().replace("64", "32"))
    findings = check(bundle, reseal)
    stale = only(findings, RESULTS)
    assert {(finding.kind, finding.column) for finding in stale} == {("stale", "config_sha256")}
    record = only(findings, "train/baseline/seed0/record.json")
    assert any("config.yaml is not what this job has written" in finding.message for finding in record)
    (config,) = only(findings, "train/baseline/seed0/config.yaml")
    assert (config.kind, config.column) == ("stale", "config_sha256")
    assert config.message == "is not what train/baseline/seed0/model.safetensors was made of"


def test_annotations_that_are_not_those_of_the_manifest(bundle: Path, reseal: Reseal) -> None:
    path = bundle / "data/val.json"
    path.write_text(path.read_text().replace('"iscrowd": 0', '"iscrowd": 1', 1))
    findings = only(check(bundle, reseal), "data/val.json")
    assert [finding.kind for finding in findings] == ["stale"]


def test_missing_evaluation(bundle: Path, reseal: Reseal) -> None:
    (bundle / "eval/student/seed1/detections.safetensors").unlink()
    kinds = {(finding.kind, finding.path) for finding in check(bundle, reseal)}
    assert ("missing", "eval/student/seed1/detections.safetensors") in kinds


def test_damaged_detections(bundle: Path, reseal: Reseal) -> None:
    path = bundle / "eval/student/seed1/detections.safetensors"
    path.write_bytes(path.read_bytes()[:-4])
    findings = only(check(bundle, reseal), "eval/student/seed1/detections.safetensors")
    assert [finding.kind for finding in findings] == ["malformed"]
    assert str(bundle) not in findings[0].message


def test_timing_of_another_checkpoint(bundle: Path, reseal: Reseal) -> None:
    edit(bundle / "timing" / "timing.tsv", 1, "inference_fps", "500.0")
    finding = only(check(bundle, reseal), "timing/timing.tsv")[0]
    assert (finding.kind, finding.row, finding.column) == (
        "row-edited",
        "exp_id=base_1, train_seed=0",
        "inference_fps",
    )


def test_suite_that_cannot_be_read(bundle: Path, reseal: Reseal) -> None:
    (bundle / "suite.yaml").write_text("name: [")
    (finding,) = check(bundle, reseal)
    assert (finding.kind, finding.path) == ("malformed", "suite.yaml")


FUZZED = (
    "suite.yaml",
    "data/manifest.json",
    "data/val.json",
    "manifest.tsv",
    "tables/summary.tsv",
    "tables/record.json",
    "timing/timing.tsv",
    "eval/baseline/seed0/results.tsv",
    "eval/baseline/seed0/record.json",
    "eval/baseline/seed0/detections.safetensors",
    "train/baseline/seed0/config.yaml",
    "train/baseline/seed0/curve.tsv",
    "train/baseline/seed0/model.safetensors",
    "figures/summary_strip.svg",
)


@pytest.mark.parametrize("path", FUZZED)
def test_no_damage_stops_the_verifier(bundle: Path, reseal: Reseal, path: str) -> None:
    """Whatever stands in a file, `verify` reports; it never raises and never passes a damaged table."""
    original = (bundle / path).read_bytes()
    rng = random.Random(path)
    for _ in range(4):
        data = bytearray(original)
        for _ in range(rng.randint(1, 4)):
            place = rng.randrange(len(data))
            choice = rng.randrange(3)
            if choice == 0:
                data[place] = rng.randrange(256)
            elif choice == 1:
                del data[place : place + rng.randint(1, 40)]
            else:
                data[place:place] = rng.choice([b"\t", b"\n", b"nan", b"[[[", b'"', b"\xff", b"-1", b"null"])
        (bundle / path).write_bytes(data)
        if path.endswith("model.safetensors"):
            write_sidecar(bundle / path)
        reseal(bundle)
        report = verify(bundle, "tables", jobs=1)
        assert bytes(data) == original or not report.ok


@pytest.mark.parametrize("path", FUZZED)
@pytest.mark.parametrize("content", [b"", b"null", b"[]", b"{}"])
def test_no_emptiness_stops_the_verifier(bundle: Path, reseal: Reseal, path: str, content: bytes) -> None:
    (bundle / path).write_bytes(content)
    reseal(bundle)
    assert not verify(bundle, "tables", jobs=1).ok


@pytest.mark.parametrize(("found", "breaks"), [("a\n\nb", 2), ("a\n\nb\n\n", 4), ("a\n\nb\n\n\n", 5)])
def test_line_breaks_at_the_end_count_too(found: str, breaks: int) -> None:
    (finding,) = compare_text("README.md", "a\n\nb\n", found)
    assert (finding.kind, finding.expected, finding.found) == ("row-edited", "3", str(breaks))
    assert "ends with another number of line breaks" in finding.message
