"""`c2o export`: what is in the files is what is in the tables and detections, and nothing else is touched."""

import contextlib
import csv
import hashlib
import io
import json
import math
import shutil
import sys
from pathlib import Path
from typing import Any

import pandas
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

import c2o_evidence
from c2o_evidence.bundle import DETAIL_FILES
from c2o_evidence.cli import main
from c2o_evidence.errors import EvidenceError
from c2o_evidence.exchange.coco_results import Run, parse_run
from c2o_evidence.exchange.place import find_place
from c2o_evidence.exchange.table_files import Table, csv_file, json_file
from c2o_evidence.tsv import Column, read_tsv

TABLES = {
    "runs": "tables/runs.tsv",
    "summary": "tables/summary.tsv",
    "main": "tables/main.tsv",
    "comparisons": "tables/comparisons.tsv",
    "manifest": "manifest.tsv",
    "timing": "timing/timing.tsv",
    "attention": "attention/attention.tsv",
} | {name.removesuffix(".tsv"): f"tables/{name}" for name in DETAIL_FILES}


@pytest.fixture(scope="module")
def whole(built: Path) -> Path:
    """The staged bundle of the session. Not to be changed."""
    return built / "results" / "toy" / "bundle"


def export(capsys: pytest.CaptureFixture[str], *arguments: object, root: Path | None = None) -> tuple[int, str, str]:
    place = ["--root", str(root)] if root is not None else []
    code = main([*place, "export", *map(str, arguments)])
    said = capsys.readouterr()
    return code, said.out, said.err


def cells(path: Path) -> list[list[str]]:
    """A TSV as its lines say it."""
    return [line.split("\t") for line in path.read_text().splitlines()]


def no_constant(text: str) -> Any:
    raise AssertionError(f"{text} is no JSON")


def test_csv_has_every_cell_of_every_table(whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = export(capsys, whole, "--to", "csv", "-o", tmp_path / "csv")
    digest = hashlib.sha256((whole / "SHA256SUMS").read_bytes()).hexdigest()
    assert code == 0 and f"toy (verified bundle, root digest {digest[:12]}…): " in out
    names = {path.name for path in (tmp_path / "csv").iterdir()}
    assert names == {"provenance.json", "curves.csv", *(f"{name}.csv" for name in TABLES)}
    for name, path in TABLES.items():
        with (tmp_path / "csv" / f"{name}.csv").open(newline="") as stream:
            assert list(csv.reader(stream)) == cells(whole / path), name
    told = json.loads((tmp_path / "csv" / "provenance.json").read_text())
    assert (told["suite"], told["root_sha256"], told["c2o_version"]) == ("toy", digest, c2o_evidence.__version__)
    runs = next(table for table in told["tables"] if table["table"] == "runs")
    units = {(t["table"], column["name"]): column["unit"] for t in told["tables"] for column in t["columns"]}
    assert units["summary", "ci95_low"] == units["per_class", "mean_AP"] == "points, 0-100"
    assert units["variance", "var_eval"] == "squares of points" and units["variance", "share_train"] is None
    by_name = {column["name"]: column for column in runs["columns"]}
    assert by_name["AP"]["unit"] == by_name["AP50"]["unit"] == "points, 0-100" and by_name["AP"]["type"] == "number"
    assert by_name["train_seed"]["type"] == "integer" and by_name["ckpt_sha256"]["type"] == "text"
    assert runs["rows"] == len(cells(whole / TABLES["runs"])) - 1


def test_the_curves_of_all_trainings_are_one_table(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    export(capsys, whole, "--to", "csv", "-o", tmp_path)
    with (tmp_path / "curves.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    expected = []
    for folder in sorted(path for path in whole.glob("train/*/seed*")):
        header, *lines = cells(folder / "curve.tsv")
        for line in lines:
            of = {"experiment": folder.parent.name, "train_seed": folder.name.removeprefix("seed")}
            expected.append(of | dict(zip(header, line, strict=True)))
    assert rows and [{key: value for key, value in row.items() if value != "nan"} for row in rows] == [
        {key: value for key, value in row.items() if value != "nan"} for row in expected
    ]


def test_json_is_json_with_its_origin(whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert export(capsys, whole, "--to", "json", "-o", tmp_path)[0] == 0
    for name, path in TABLES.items():
        document = json.loads((tmp_path / f"{name}.json").read_text(), parse_constant=no_constant)
        assert document["root_sha256"] == hashlib.sha256((whole / "SHA256SUMS").read_bytes()).hexdigest()
        header, *lines = cells(whole / path)
        assert [column["name"] for column in document["columns"]] == header
        for row, line in zip(document["rows"], lines, strict=True):
            for value, cell in zip(row.values(), line, strict=True):
                assert (value is None) == (cell in ("nan", "")) and (value is None or str(value) == cell), (name, cell)


def test_parquet_has_the_types_of_the_schemas(whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert export(capsys, whole, "--to", "parquet", "-o", tmp_path)[0] == 0
    for name, path in TABLES.items():
        frame = pandas.read_parquet(tmp_path / f"{name}.parquet")
        rows = read_tsv(whole / path, "results" if name == "runs" else name)
        assert frame.attrs["suite"] == "toy" and list(frame) == list(rows[0])
        for column in frame:
            kept = [None if pandas.isna(value) else value for value in frame[column]]
            meant = [None if isinstance(v := row[column], float) and math.isnan(v) else v for row in rows]
            assert kept == meant, (name, column)
    types = pandas.read_parquet(tmp_path / "summary.parquet").dtypes
    assert (types["mean_AP"], types["n_runs"], types["speedup_over"]) == ("float64", "Int64", "string")


def test_parquet_without_pyarrow_says_what_to_install(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    code, _, err = export(capsys, whole, "--to", "parquet", "-o", tmp_path / "out")
    told = "--to parquet needs pyarrow, which is not installed; `make extras` installs it"
    assert (code, err) == (2, f"c2o export: {told}\n") and not (tmp_path / "out").exists()


def test_coco_results_give_the_ap_of_the_table(whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = export(capsys, whole, "--to", "coco", "-o", tmp_path)
    assert code == 0 and f"COCO('{whole}/data/val.json').loadRes(FILE)" in out
    rows = read_tsv(whole / TABLES["runs"], "results")
    assert len(list(tmp_path.iterdir())) == len(rows) > 1
    for row in rows:
        name = f"{row['exp_name']}.train{row['train_seed']}.eval{row['eval_seed']}.json"
        with contextlib.redirect_stdout(io.StringIO()):
            truth = COCO(str(whole / "data" / "val.json"))
            evaluation = COCOeval(truth, truth.loadRes(str(tmp_path / name)), "bbox")
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
        assert [100 * value for value in evaluation.stats[:3]] == [row["AP"], row["AP50"], row["AP75"]], name


def test_one_run_is_chosen_by_its_name(whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    row = read_tsv(whole / TABLES["runs"], "results")[-1]
    run = Run(row["exp_name"], row["train_seed"], row["eval_seed"])
    assert export(capsys, whole, "--to", "coco", "--run", run, "-o", tmp_path / "one")[0] == 0
    (file,) = (tmp_path / "one").iterdir()
    entry = json.loads(file.read_text())[0]
    assert set(entry) == {"image_id", "category_id", "bbox", "score"}
    for wrong, told in (
        (f"{run.exp_id}:{run.train_seed}:99", f"--run {run.exp_id}:{run.train_seed}:99: is not in {whole}, which has "),
        (f"{run.exp_id}:99:0", f"--run {run.exp_id}:99:0: is not in {whole}, which has train seed "),
        ("student", "--run student: is not EXP:TRAIN:EVAL, as student_1:0:3 (row, train seed, eval seed)"),
    ):
        code, _, err = export(capsys, whole, "--to", "coco", "--run", wrong, "-o", tmp_path / "none")
        assert code == 2 and told in err and not (tmp_path / "none").exists()
    code, _, err = export(capsys, whole, "--to", "csv", "--run", run, "-o", tmp_path / "none")
    assert code == 2 and "--run: chooses detections for --to coco; --to csv has all runs in its tables" in err


def test_latex_tables_say_what_they_need(whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = export(capsys, whole, "--to", "latex", "-o", tmp_path)
    assert code == 0 and f"\\input{{{tmp_path}/summary}}" in out
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in whole.glob("tables/*.tex")}
    for path in tmp_path.iterdir():
        first, second, rest = path.read_text().split("\n", 2)
        assert first.startswith(f"% toy, tables/{path.name}: bundle with root digest ")
        assert second == "% In the preamble: \\usepackage{booktabs}"
        assert rest == (whole / "tables" / path.name).read_text()


def test_the_card_is_that_of_c2o_model_card(whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert export(capsys, whole, "--to", "card", "-o", tmp_path)[0] == 0
    assert main(["model-card", str(whole)]) == 0
    assert (tmp_path / "README.md").read_text() == capsys.readouterr().out


def test_files_of_another_content_are_kept(whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = (whole, "--to", "csv", "-o", tmp_path)
    assert export(capsys, *arguments)[0] == export(capsys, *arguments)[0] == 0, "the same content is no fault"
    (tmp_path / "timing.csv").write_text("mine\n")
    (tmp_path / "attention.csv").unlink()
    code, _, err = export(capsys, *arguments)
    told = "timing.csv: is there with another content; give --force to replace it, or another -o"
    assert code == 2 and told in err
    assert (tmp_path / "timing.csv").read_text() == "mine\n" and not (tmp_path / "attention.csv").exists()
    assert export(capsys, *arguments, "--force")[0] == 0
    assert (tmp_path / "timing.csv").read_text() != "mine\n" and (tmp_path / "attention.csv").exists()


def test_nothing_is_written_into_evidence(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = root / "results" / "toy" / "bundle"
    shutil.copytree(bundle, tmp_path / "copy")
    (tmp_path / "way").symlink_to(tmp_path / "copy" / "tables")
    before = sorted(path for place in (root, tmp_path / "copy") for path in place.rglob("*"))
    for out in (
        *(tmp_path / "copy", tmp_path / "copy/new/deep", tmp_path / "way", bundle / "tables"),
        *(root / "results/toy/export", root / "deliverables/toy"),
    ):
        code, _, err = export(capsys, "toy", "--to", "csv", "--force", "-o", out, root=root)
        assert code == 2 and "which holds evidence alone; name a directory elsewhere" in err
    file = tmp_path / "file"
    file.touch()
    code, _, err = export(capsys, "toy", "--to", "csv", "-o", file, root=root)
    assert code == 2 and "is a file; -o takes a directory, which is made if it is not there" in err
    assert sorted(path for place in (root, tmp_path / "copy") for path in place.rglob("*")) == before


def test_a_name_is_the_deliverable_then_the_bundle_then_the_results(
    frozen: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = frozen.parent.parent
    (tmp_path / "here" / "toy").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    assert find_place("toy", root).base == frozen, "a name is no directory that happens to be here"
    code, out, _ = export(capsys, "toy", "--to", "json", root=root)
    assert code == 0 and (root / "exports/toy/json/summary.json").is_file() and "root digest" in out
    shutil.move(frozen, root / "elsewhere")
    assert find_place("toy", root).base == root / "results/toy/bundle"
    shutil.rmtree(root / "results/toy/bundle")
    place = find_place("toy", root)
    assert (place.base, place.source, place.provenance["root_sha256"]) == (root / "results/toy", None, None)
    code, out, _ = export(capsys, "toy", "--to", "coco", root=root)
    assert code == 0 and "toy (no bundle: nothing vouches for it): " in out
    code, _, err = export(capsys, "toy", "--to", "card", root=root)
    assert code == 2 and "a model card is made of a bundle; finish it with `c2o run toy`" in err
    code, _, err = export(capsys, "toys", "--to", "csv", root=root)
    assert code == 2 and "toys: is not in deliverables/ or results/, and no directory" in err
    code, _, err = export(capsys, root / "configs", "--to", "csv", root=root)
    assert code == 2 and "has no SHA256SUMS, tables/ or eval/, so nothing to export; name a bundle" in err


def test_a_damaged_bundle_is_not_exported(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with (bundle / "tables/runs.tsv").open("a") as stream:
        stream.write("\n")
    code, _, err = export(capsys, bundle, "--to", "csv", "-o", tmp_path / "out")
    assert code == 1 and "does not verify, so nothing is written about it" in err and not (tmp_path / "out").exists()


ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "label": st.none() | st.text(st.characters(blacklist_categories=["Cs", "Cc"]), min_size=1),
            "count": st.none() | st.integers(-(2**40), 2**40),
            "value": st.floats(allow_infinity=False),
        }
    )
)
COLUMNS = (Column("label", "str", nullable=True), Column("count", "int", nullable=True), Column("value", "float"))


@given(rows=ROWS)
@settings(max_examples=60)
def test_any_text_and_number_comes_back(rows: list[dict[str, Any]]) -> None:
    table = Table("made_up", COLUMNS, rows)
    header, *lines = list(csv.reader(io.StringIO(csv_file(table).decode("utf-8"), newline="")))
    assert header == ["label", "count", "value"]
    for row, (label, count, value) in zip(rows, lines, strict=True):
        assert (label or None, int(count) if count else None) == (row["label"], row["count"])
        assert float(value) == row["value"] or (math.isnan(float(value)) and math.isnan(row["value"]))
    document = json.loads(json_file(table, {"suite": "x"}), parse_constant=no_constant)
    plain = [row | {"value": None if math.isnan(row["value"]) else row["value"]} for row in rows]
    assert document["rows"] == plain


@given(text=st.text(max_size=12))
@settings(max_examples=60)
def test_a_run_is_read_or_refused(text: str) -> None:
    try:
        run = parse_run(text)
    except EvidenceError as error:
        assert str(error).startswith(f"--run {text}: is not EXP:TRAIN:EVAL")
    else:
        assert text.split(":")[0] == run.exp_id and run.train_seed >= 0 and run.eval_seed >= 0
