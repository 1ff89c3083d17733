"""Published tables whose rows are those of a frozen deliverable."""

from pathlib import Path

import pytest

from c2o_evidence.cli import main

EMPTY = "<!-- c2o:table suite=toy table=arms -->\n<!-- c2o:end -->\n"


@pytest.fixture
def page(frozen: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """A README with a table of the frozen suite `toy`."""
    readme = frozen.parent.parent / "README.md"
    readme.write_text(f"# Toy\n\n{EMPTY}")
    assert main(["--root", str(readme.parent), "tables", "--write"]) == 0
    assert capsys.readouterr().out == "written: README.md:3\n1 tables changed\n"
    assert "| Baseline, 1 step | 4 (2 x 2) | " in readme.read_text()
    assert "| Student \\| 1 step | 4 (2 x 2) | " in readme.read_text()
    return readme


def check(page: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    status = main(["--root", str(page.parent), "tables", "--check", *arguments])
    out, err = capsys.readouterr()
    return status, out, err


def test_rows_of_the_deliverable_and_with_deep_from_the_detections(page: Path, capsys) -> None:
    status, out, _ = check(page, capsys)
    assert status == 0 and "README.md:3: arms of toy: ok, 12 cells" in out
    assert "  from deliverables/toy/tables/runs.tsv (sha256 " in out and "level tables" not in out
    status, out, _ = check(page, capsys, "--deep")
    assert status == 0 and "deliverables/toy: level tables: ok, " in out
    assert "  from the detections in deliverables/toy and re-hashed checkpoints (root digest " in out
    assert "note: deliverables/toy: measured, so bound by digests alone and not recomputable: timing/" in out


def test_an_edited_row_of_the_deliverable_is_found(page: Path, frozen: Path, capsys, reseal) -> None:
    runs = frozen / "tables" / "runs.tsv"
    lines = runs.read_text().split("\n")
    cells = lines[1].split("\t")
    index = lines[0].split("\t").index("AP")
    cells[index] = repr(float(cells[index]) / 2)
    for path in (frozen / "tables", runs, frozen, frozen / "SHA256SUMS"):
        path.chmod(0o755)
    runs.write_text("\n".join([lines[0], "\t".join(cells), *lines[2:]]))
    status, out, _ = check(page, capsys)
    assert status == 1 and "changed: deliverables/toy/tables/runs.tsv: is not the file that SHA256SUMS lists" in out
    assert "row-edited: README.md: row line 6 (Baseline, 1 step): column AP: does not follow from the rows" in out
    # Someone hides it: a new list of digests, and the page made to fit. The detections still say otherwise.
    reseal(frozen)
    assert main(["--root", str(page.parent), "tables", "--write"]) == 0
    assert check(page, capsys)[0] == 0
    status, out, _ = check(page, capsys, "--deep")
    assert (
        status == 1
        and "deliverables/toy: level tables: " in out
        and "row-edited: tables/runs.tsv: row exp_name=" in out
    )


def test_runs_other_than_the_published_ones_are_said(page: Path, frozen: Path, capsys) -> None:
    published = page.parent / "manifests/reference/toy/tables"
    published.mkdir(parents=True)
    text = (frozen / "tables" / "runs.tsv").read_text()
    (published / "runs.tsv").write_text("\n".join([*text.split("\n")[:-2], ""]))
    status, out, _ = check(page, capsys)
    assert "NOT the runs that manifests/reference/toy/tables/runs.tsv publishes: --source reference compares" in out
    status, out, _ = check(page, capsys, "--source", "reference")
    assert status == 1 and "row line 8 (Student | 1 step): column runs: " in out


@pytest.mark.parametrize("name", ["suite.yaml", "timing/timing.tsv"])
def test_suite_and_times_of_the_deliverable_are_those_of_its_list(page: Path, frozen: Path, name: str, capsys) -> None:
    path = frozen / name
    path.chmod(0o644)
    old, new = ("Baseline, 1 step", "Baseline, 2 step") if name == "suite.yaml" else ("\tcpu\t1\t", "\tcpu\t2\t")
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    status, out, _ = check(page, capsys)
    assert status == 1 and f"changed: deliverables/toy/{name}: is not the file that SHA256SUMS lists" in out
