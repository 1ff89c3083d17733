"""Every table that this repository publishes follows from the rows it publishes; faults put in are found and named."""

import json
import shutil
from pathlib import Path

import pytest

from c2o_evidence.cli import main
from c2o_evidence.published.check import Publisher, check_reference, default_files, reference_names

ROOT = Path(__file__).resolve().parents[3]
SUITES = ("step1_5seed", "ablation_label", "step_curve", "attention_bench")
LINE = (ROOT / "README.md").read_text("utf-8").partition("<!-- c2o:table")[0].count("\n") + 1  # of README's one table
README = f"README.md:{LINE}"


def test_nothing_is_found_in_the_repository_itself() -> None:
    checked = Publisher(ROOT, "reference").check_files(default_files(ROOT))
    assert {"README.md", "docs/suites.md"} <= {item.path.split(":")[0] for item in checked}
    assert [str(finding) for item in checked for finding in item.findings] == []
    assert sum(item.cells for item in checked) > 700
    marked = {item.what.split(" of ")[1] for item in checked}
    assert marked == {*reference_names(ROOT), "attention_bench"}


@pytest.mark.parametrize("name", reference_names(ROOT))
def test_the_reference_tables_are_reproduced(name: str) -> None:
    checked = check_reference(name, ROOT)
    assert checked.findings == [] and checked.cells > 100


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what is published, without deliverables."""
    root = tmp_path_factory.mktemp("published")
    (root / "Snakefile").touch()
    shutil.copytree(ROOT / "configs", root / "configs")
    for name in SUITES:
        shutil.copytree(ROOT / "manifests/reference" / name, root / "manifests/reference" / name)
    lines = (ROOT / "docs/suites.md").read_text().split("\n")
    kept = []
    for name in SUITES[1:]:
        for first in [index for index, line in enumerate(lines) if f"suite={name} " in line]:
            kept += [*lines[first : lines.index("<!-- c2o:end -->", first) + 1], ""]
    (root / "docs").mkdir()
    (root / "docs/suites.md").write_text("\n".join(kept))
    shutil.copy(ROOT / "README.md", root / "README.md")
    return root


@pytest.fixture
def copy(published: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(published, tmp_path / "copy"))


def edit(path: Path, old: str, new: str) -> int:
    """Replaces the one `old`; the number of its line."""
    text = path.read_text("utf-8")
    assert text.count(old) == 1, (old, text.count(old))
    path.write_text(text.replace(old, new), "utf-8")
    return text[: text.index(old)].count("\n") + 1


def check(root: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    status = main(["--root", str(root), "tables", "--check", *arguments])
    out, err = capsys.readouterr()
    return status, out, err


def test_the_copy_holds_and_says_what_its_rows_are(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = check(copy, capsys)
    assert status == 0 and f"{README}: summary of step1_5seed: ok, 80 cells" in out
    assert "  from manifests/reference/step1_5seed/tables/runs.tsv (sha256 e99e2fc4" in out
    assert "manifests/reference/step_curve/tables/comparisons.tsv (sha256" in out
    assert "verified: 9 tables" in out and "note: 6 of them from published TSVs, whose runs are not" in out


SAMPLER, GEO = "Sampler distillation 20->1, 1 step", "Distillation + GEO_FEAT, 1 step"
STUDENT = f"| {SAMPLER} | 1 | 25 | 60.31 ± 0.76 | 59.44 to 61.18 | 82.54 | 73.79 | 8.0 | 124.7 | 11.0× |"
GEOFEAT = f"| {GEO} | 1 | 25 | 60.75 ± 0.66 | 60.15 to 61.34 | 82.71 | 74.28 | 8.2 | 121.5 | – |"
AT, NEXT = f"line AT ({SAMPLER})", f"line NEXT ({SAMPLER})"
FOLLOWS = "does not follow from the rows"


@pytest.mark.parametrize(
    ("old", "new", "kind", "row", "rest"),
    [
        ("60.31 ± 0.76", "61.31 ± 0.76", "row-edited", AT, ("AP", FOLLOWS, "60.31 ± 0.76", "61.31 ± 0.76")),
        ("124.7 | 11.0×", "124.7 | 12.0×", "row-edited", AT, ("speed-up", FOLLOWS, "11.0×", "12.0×")),
        (STUDENT + "\n", "", "row-missing", f"{SAMPLER} (table of line {LINE})", ("", "this row is not there", "", "")),
        (STUDENT, STUDENT + "\n" + STUDENT.replace("Sampler", "Other").replace("60.31", "69.31"),
         "row-extra", NEXT.replace("Sampler", "Other"), ("", "nothing asks for this row", "", "")),
        (STUDENT, STUDENT + "\n" + STUDENT, "used-twice", NEXT, ("", "this row is in line AT already", "", "")),
        ("| Sampler distillation 20", "| Our distillation 20", "row-edited", AT,
         ("setting", FOLLOWS, SAMPLER, SAMPLER.replace("Sampler", "Our"))),
        (STUDENT + "\n" + GEOFEAT, GEOFEAT + "\n" + STUDENT, "row-reordered", f"line AT ({GEO})",
         ("", "the rows are not in their order, from this one on", SAMPLER, GEO)),
        (STUDENT, GEOFEAT.replace(GEO, SAMPLER), "swapped", AT, ("", f"holds the numbers of {GEO}", "", "")),
        ("| AP50 | AP75 | ms", "| AP50 | AP70 | ms", "row-edited", "line AT (header)",
         ("AP75", "is not the column that is asked for", "AP75", "AP70")),
        (" | 124.7 | 11.0× |", " | 11.0× |", "malformed", AT, ("", "has 9 cells, the header 10", "", "")),
        (STUDENT, STUDENT + "\nhand-made", "row-extra", "line NEXT", ("", "is no line of the table", "", "hand-made")),
    ],
)  # fmt: skip
def test_a_fault_in_the_readme_is_named(copy: Path, capsys, old, new, kind, row, rest) -> None:
    line = edit(copy / "README.md", old, new)
    status, out, _ = check(copy, capsys, str(copy / "README.md"), "--json")
    found = [finding for item in json.loads(out)["tables"] for finding in item["findings"]]
    assert status == 1 and {finding["path"] for finding in found} == {"README.md"}

    def placed(text: str) -> str:
        return text.replace("line AT", f"line {line}").replace("line NEXT", f"line {line + 1}")

    keys = ("kind", "row", "column", "message", "expected", "found")
    column, message, expected, there = rest
    assert (kind, placed(row), column, placed(message), expected, there) in [tuple(f[k] for k in keys) for f in found]
    assert check(copy, capsys, str(copy / "README.md"))[1].startswith(f"{found[0]['kind']}: README.md: row ")


def test_a_fault_in_the_attention_table_is_named(copy: Path, capsys) -> None:
    line = edit(copy / "docs/suites.md", "78.6 ms, 17.6 MB", "78.6 ms, 1.76 MB")
    status, out, _ = check(copy, capsys)
    assert status == 1 and f"row-edited: docs/suites.md: row line {line} (2048, lowrank): column `sdpa` flash: " in out
    assert "(expected 78.6 ms, 17.6 MB, found 78.6 ms, 1.76 MB)" in out and "FAILED: 1 findings" in out
    edit(copy / "docs/suites.md", "suite=attention_bench table=attention", "suite=attention_bench table=summary")
    status, _, err = check(copy, capsys)
    assert status == 2 and "manifests/reference/attention_bench/tables is not here; it has table=attention" in err
    edit(copy / "docs/suites.md", "suite=attention_bench table=summary", "suite=step_curve table=attention")
    status, _, err = check(copy, capsys)
    assert status == 2 and ": suite=step_curve has no attention benchmark here (manifests/reference/step_curve/" in err
    edit(copy / "docs/suites.md", "suite=step_curve table=attention", "suite=step_curve table=parity")
    status, _, err = check(copy, capsys)
    assert status == 2 and ": suite=step_curve has no comparison of stacks here (manifests/reference/step_curve/" in err


def test_one_edited_cell_is_one_finding_and_write_puts_it_right(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {name: (copy / name).read_bytes() for name in ("README.md", "docs/suites.md")}
    edit(copy / "docs/suites.md", "| 60.06 ± 0.96 |", "| 60.06 ± 0.69 |")
    edit(copy / "README.md", STUDENT + "\n", "")
    status, out, _ = check(copy, capsys, "--json")
    found = [finding for item in json.loads(out)["tables"] for finding in item["findings"]]
    assert status == 1 and [(f["kind"], f["path"]) for f in found] == [
        ("row-missing", "README.md"), ("row-edited", "docs/suites.md")
    ]  # fmt: skip
    assert main(["--root", str(copy), "tables", "--write"]) == 0
    assert f"written: {README}\n" in capsys.readouterr().out
    assert {name: (copy / name).read_bytes() for name in before} == before
    assert main(["--root", str(copy), "tables", "--write"]) == 0
    assert capsys.readouterr().out == "all tables were up to date\n"


def test_an_edited_run_is_named_in_every_table_and_by_the_digests(copy: Path, capsys) -> None:
    edit(copy / "manifests/reference/step1_5seed/tables/runs.tsv", "57.455198436162824", "6.5")
    status, out, _ = check(copy, capsys, str(copy / "README.md"))
    assert status == 1 and "column AP: does not follow from the rows" in out
    assert "row-edited: manifests/reference/step1_5seed/tables/summary.tsv: row exp_id=" in out
    assert "stale: manifests/reference/step1_5seed/tables/runs.tsv: row experiment=" in out
    assert "these rows are not eval/" in out


def test_taking_the_runs_out_hides_nothing(copy: Path) -> None:
    path = copy / "manifests/reference/step1_5seed/tables/runs.tsv"
    path.write_text(path.read_text().split("\n")[0] + "\n")
    found = check_reference("step1_5seed", copy).findings
    wrong = {(finding.kind, finding.path.rsplit("/", 1)[1]) for finding in found}
    assert {("row-edited", "summary.tsv"), ("row-edited", "comparisons.tsv"), ("stale", "runs.tsv")} <= wrong


def test_runs_without_their_list_of_digests_are_bound_to_nothing(copy: Path) -> None:
    (copy / "manifests/reference/step1_5seed/DIGESTS").unlink()
    (finding,) = check_reference("step1_5seed", copy).findings
    assert (finding.kind, finding.path) == ("missing", "manifests/reference/step1_5seed/DIGESTS")
    assert "nothing binds the published runs to results and checkpoints" in finding.message


@pytest.mark.parametrize(
    ("table", "column", "delta"),
    [
        ("summary", "std_AP_pop", 0.1), ("summary", "ci95_low", 0.1), ("summary", "std_between_train", 0.1),
        ("summary", "std_within_eval", 0.1), ("summary", "mean_AP", 0.1), ("comparisons", "mean_diff", 0.1),
        ("comparisons", "p_value", 0.01), ("comparisons", "t", 0.1), ("comparisons", "ci95_high", 0.1),
        ("summary", "inference_fps", 1.0), ("summary", "std_AP_sample", 0.1), ("summary", "std_AP_train_seeds", 0.1),
    ],
)  # fmt: skip
def test_a_number_that_contradicts_others_is_named_without_runs(copy: Path, table, column, delta) -> None:
    path = copy / f"manifests/reference/step_curve/tables/{table}.tsv"
    lines = [line.split("\t") for line in path.read_text().split("\n")]
    index = lines[0].index(column)
    lines[1][index] = repr(float(lines[1][index]) + delta)
    path.write_text("\n".join("\t".join(line) for line in lines))
    own = [finding for finding in check_reference("step_curve", copy).findings if finding.path.endswith(".tsv")]
    assert own and any(finding.message == "does not fit the other numbers of this row" for finding in own)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("suite=step1_5seed table", "suite=step_5seed table", "suite=step_5seed: unknown suite; did you mean 'step1"),
        ("table=summary", "table=sumary", f"{README}: table=sumary: unknown table; known: summary, spread"),
        ("table=summary", 'table=summary columns="setting, APP"', "'APP' is no column of table=summary; known: set"),
        ("table=summary", "table=summary columns=AP,AP", f"{README}: column 'AP' is named twice"),
        ("table=summary", "table=summary rows=student", "'student' is no row of step1_5seed; did you mean 'student"),
        ("table=summary", "table=summary size=3", f"{README}: 'size=3': unknown key; did you mean 'suite'?"),
        ("table=summary", "table=summary table=main", f"{README}: table is given twice"),
        ("table=summary", "", f"{README}: table is missing; write table=NAME"),
        ("table=summary", 'table="summary', f"{README}: cannot be read: No closing quotation"),
        ("<!-- c2o:end -->", "", f"{README}: is not closed; add <!-- c2o:end --> below the table"),
        ("<!-- c2o:table", "<!-- c2o:end -->\n<!-- c2o:table", f"{README}: closes no table; remove it"),
        ("<!-- c2o:table suite", "<!-- c2o:tabel suite", f"{README}: '<!-- c2o:tabel suite="),
        ("<!-- c2o:end -->", "<!-- c2o:table suite=step1_5seed table=main -->", f"of line {LINE} is not closed"),
    ],
)  # fmt: skip
def test_a_comment_that_is_not_understood_says_what_is(copy: Path, capsys, old, new, message) -> None:
    edit(copy / "README.md", old, new)
    before = (copy / "README.md").read_bytes()
    for action in ("--check", "--write"):
        assert main(["--root", str(copy), "tables", action, str(copy / "README.md")]) == 2
        assert message in capsys.readouterr().err
    assert (copy / "README.md").read_bytes() == before


def test_examples_in_code_blocks_count_for_nothing(copy: Path, capsys) -> None:
    page = copy / "page.md"
    page.write_text("```\n<!-- c2o:table suite=nothing table=none -->\n```\n")
    status, _, err = check(copy, capsys, str(page))
    assert status == 2 and "no marked table was found; put one between comments" in err


def test_every_kind_of_table_is_written_and_then_holds(copy: Path, capsys) -> None:
    page = copy / "page.md"
    kinds = ("summary", "spread", "arms", "comparisons", "claims", "main", "attention")
    more = 'table=summary columns="row, mean AP, std (pop), std (sample)" rows="student_1, baseline_1"'
    marks = [
        f"<!-- c2o:table suite=step1_5seed {text} -->\n<!-- c2o:end -->\n"
        for text in (*(f"table={k}" for k in kinds), more)
    ]
    page.write_text("\n".join(marks))
    assert main(["--root", str(copy), "tables", "--write", str(page)]) == 0
    capsys.readouterr()
    text = page.read_text()
    # The generated files of the reference hold the same tables.
    for name in ("summary.md", "main.md"):
        reference = (copy / "manifests/reference/step1_5seed/tables" / name).read_text()
        assert all(line in text for line in reference.split("\n") if line.startswith("|"))
    header = "| row | mean AP | std (pop) | std (sample) |\n|---|---:|---:|---:|\n"
    assert header + "| student_1 | 60.31 | 0.76 | 0.78 |\n| baseline_1 | 59.03 | 1.09 | 1.11 |\n" in text
    status, out, _ = check(copy, capsys, str(page))
    assert status == 0 and out.count(": ok, ") == 9


def test_bad_use(copy: Path, capsys) -> None:
    for arguments, message in (
        ([], "say what to do: --check or --write"),
        (["--write", "--deep"], "--deep and --json go with --check; write first, then check"),
        (["--suite", "toy", "README.md"], "--suite goes with no file and no --write"),
        (["--check", "nothing.md"], "nothing.md: cannot be read: No such file"),
        (["--check", "--source", "deliverables"], "deliverables/step1_5seed is not here; build it"),
        (["--check", "--deep"], "--deep: no table took its rows from deliverables/"),
    ):
        assert main(["--root", str(copy), "tables", *arguments]) == 2
        assert message in capsys.readouterr().err
