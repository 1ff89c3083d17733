"""`c2o diff` of bundles: what changed in the suite, which checkpoints are others and why, and what is never trusted."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from c2o_evidence.cli import main
from c2o_evidence.diff import diff
from c2o_evidence.diff.text import lines, markdown
from c2o_evidence.errors import DigestError

MODEL = "train/student/seed1/model.safetensors"


@pytest.fixture
def other(bundle: Path, tmp_path: Path) -> Path:
    """A second copy, to be changed."""
    return Path(shutil.copytree(bundle, tmp_path / "other" / "toy"))


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new), "utf-8")


def sections(found) -> dict:
    return {item.title: item for item in found.sections}


def test_a_bundle_and_its_copy(bundle: Path, other: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = diff(bundle, other)
    assert (found.verdict, found.exit_code) == ("identical", 0)
    assert {item.verdict for item in found.sections} == {"identical"}
    assert main(["diff", str(bundle), str(other), "--verify"]) == 0
    count = len((bundle / "SHA256SUMS").read_text().splitlines())
    assert f"level files verified: all {count} files hold against SHA256SUMS" in capsys.readouterr().out


def test_checkpoints_and_the_reasons(bundle: Path, other: Path, reseal: Callable[[Path], None]) -> None:
    (other / MODEL).write_bytes(b"another")
    record = other / "train/student/seed1/record.json"
    document = json.loads(record.read_text())
    document |= {"code_sha256": "a" * 64, "lock_sha256": "b" * 64}
    document["host"]["hardware_id"] = "c" * 12
    document["tools"]["numpy"] = "0.1"
    next(item for item in document["materials"] if item["name"] == "init")["sha256"] = "d" * 64
    record.write_text(json.dumps(document))
    edit(other / "train/student/seed1/config.yaml", "MAX_ITER: 20", "MAX_ITER: 21")
    reseal(other)
    found = diff(bundle, other)
    assert found.verdict == "same numbers", "other checkpoints alone move no number"
    (row,) = sections(found)["checkpoints"].rows
    assert row.row == MODEL
    words = [says.split(":")[0] for says in row.says]
    assert words == [
        "config",
        "code",
        "environment lock",
        "started from another checkpoint (init)",
        "hardware",
        "tools",
    ]
    changes = {row.row: row.says for row in sections(found)["suite"].rows}
    assert changes == {"configuration of student: SOLVER.MAX_ITER": ("20 -> 21", "in seed1")}


def test_a_checkpoint_that_differs_for_no_reason_in_the_records(
    bundle: Path, other: Path, reseal: Callable[[Path], None]
) -> None:
    (other / MODEL).write_bytes(b"another")
    reseal(other)
    (row,) = sections(diff(bundle, other))["checkpoints"].rows
    assert row.says[0].startswith("no reason in the records: same config, code, data")


def test_moved_rows_a_changed_suite_and_other_hardware(
    bundle: Path, other: Path, reseal: Callable[[Path], None]
) -> None:
    path = other / "tables/runs.tsv"
    table = path.read_text().split("\n")
    column = table[0].split("\t").index("AP")
    for number, line in enumerate(table[1:-1], start=1):
        cells = line.split("\t")
        if cells[0] == "student_1":
            cells[column] = repr(float(cells[column]) / 2)
            table[number] = "\t".join(cells)
    path.write_text("\n".join(table))
    edit(other / "suite.yaml", "label: Baseline, 1 step\n", "label: Base\n")
    timing = (other / "timing/timing.tsv").read_text().split("\n")[1].split("\t")
    edit(other / "timing/timing.tsv", timing[-2], "ba9876543210")  # hardware_id
    reseal(other)
    found = diff(bundle, other)
    parts = sections(found)
    assert (found.verdict, found.exit_code) == ("moved", 1)
    assert parts["results"].counts == {"identical": 8, "moved": 4}
    (setting,) = parts["results"].settings
    assert setting.row == "student_1" and setting.moves[0].test.n_a == 2
    assert setting.moves[0].b == pytest.approx(setting.moves[0].a / 2)
    assert [row.row for row in parts["suite"].rows] == ["rows[base_1].label"]
    assert parts["timing"].verdict == "not comparable" and not parts["timing"].decides
    assert "the times are not compared" in parts["timing"].facts[-1]
    text = "\n".join(line for line, _ in lines(found))
    assert "rows[base_1].label: 'Baseline, 1 step' -> 'Base'" in text
    assert text.endswith("moved: numbers are other ones in B (differences are B - A)")
    comment = markdown(found)
    assert "| student\\_1 | AP |" in comment and comment.count("<details>") == comment.count("</details>") > 3


def test_what_does_not_hold_is_not_compared(
    bundle: Path, other: Path, capsys: pytest.CaptureFixture[str], reseal: Callable[[Path], None]
) -> None:
    edit(other / "README.md", "\n", "!\n")
    assert diff(bundle, other).verdict == "identical", "not read: the listed digests are compared, as is said"
    with pytest.raises(DigestError, match=r"does not verify, so nothing is compared: changed: README.md"):
        diff(bundle, other, verify=True)
    reseal(other)
    edit(other / "tables/runs.tsv", "\t", "\t")
    edit(other / "suite.yaml", "name: toy", "name: toi")
    assert main(["diff", str(bundle), str(other)]) == 1
    assert "suite.yaml: is not what SHA256SUMS lists" in capsys.readouterr().err
    with pytest.raises(DigestError, match=r"is not what .*SHA256SUMS lists"):
        edit(other / "tables/summary.tsv", "base_1", "base_2")
        diff(bundle / "tables/summary.tsv", other / "tables/summary.tsv")


def test_json_has_no_nan_and_names_what_vouches(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = str(bundle / "tables/runs.tsv")
    assert main(["diff", table, table, "--json"]) == 0
    document = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert document["verdict"] == "identical" and document["kind"] == "results"
    assert document["a"]["vouched"] == "it is the file that SHA256SUMS of the bundle toy lists"
    assert document["sections"][0]["counts"] == {"identical": 12}


def test_suites_by_name_and_bad_use(frozen: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = str(frozen.parent.parent)
    assert main(["--root", root, "diff", "toy", "toy"]) == 0
    assert "frozen, revision 1" in capsys.readouterr().out
    assert main(["--root", root, "diff", "toy", "nothing"]) == 2
    assert main(["--root", root, "diff", "toy", str(frozen / "tables/runs.tsv")]) == 2
    assert "give two of a kind" in capsys.readouterr().err


@pytest.mark.parametrize("broken", [{"nondeterminism": 3}, {"materials": [{"name": ["a"], "sha256": 1}]}])
def test_a_record_of_another_shape_is_named_and_breaks_nothing(
    bundle: Path, other: Path, reseal: Callable[[Path], None], broken: dict
) -> None:
    (other / MODEL).write_bytes(b"another")
    record = other / "train/student/seed1/record.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | broken))
    reseal(other)
    (row,) = sections(diff(bundle, other))["checkpoints"].rows
    assert row.says == ("B has no record of the training that can be read",)


def test_what_a_record_says_moves_no_cursor(bundle: Path, other: Path, reseal: Callable[[Path], None]) -> None:
    (other / MODEL).write_bytes(b"another")
    record = other / "train/student/seed1/record.json"
    document = json.loads(record.read_text())
    document["tools"]["numpy"] = "1\x1b[2J"
    record.write_text(json.dumps(document))
    reseal(other)
    text = "\n".join(line for line, _ in lines(diff(bundle, other)))
    assert "-> 1\\u001b[2J" in text and "\x1b" not in text
