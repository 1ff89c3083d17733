"""The tables that look closer than AP: what they hold, what level `tables` finds in them, and bundles without them."""

import json
import math
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from c2o_evidence.analysis import BACKGROUND, MISSED, RECALLS, RunAnalysis
from c2o_evidence.bundle import DETAIL_FILES, bundle_files, write_sha256sums
from c2o_evidence.code import CODE_PARTS, code_digest
from c2o_evidence.crate import write_crate
from c2o_evidence.detections import read_detections
from c2o_evidence.extent import Extent, extent_of
from c2o_evidence.figures import DETAIL
from c2o_evidence.metrics import GroundTruth
from c2o_evidence.report import generator
from c2o_evidence.suite import Suite, load_suite
from c2o_evidence.tables.detail import (
    build_confusion,
    build_errors,
    build_per_class,
    build_precision_recall,
    build_variance,
)
from c2o_evidence.tsv import read_tsv
from c2o_evidence.verify import verify

OF_STACKS = ("diffusers", "mmdet", "parity")  # parts that the suite `toy` has no sources of
Reseal = Callable[[Path], None]


@pytest.fixture(scope="module")
def suite(built: Path) -> Suite:
    return load_suite("toy", built)


def run(exp: str, train: int, evaluated: int, ap: float, cat: float = 50.0) -> dict[str, object]:
    return {"exp_name": exp, "train_seed": train, "eval_seed": evaluated, "AP": ap, "AP-cat": cat, "AP-dog": math.nan}


def test_variance_and_classes_by_hand(suite: Suite) -> None:
    """Values of two train seeds [1, 3] and [5, 7]: within 2, between (16 - 2) / 2 = 7 (stats.variance_components)."""
    values = {(0, 0): 1.0, (0, 1): 3.0, (1, 0): 5.0, (1, 1): 7.0}
    runs = [run("base_1", *seeds, ap, cat=ap) for seeds, ap in values.items()] + [run("base_4", 0, 0, 9.0)]
    first, second, third = build_variance(suite, runs)
    assert first == {
        "exp_id": "base_1", "n_runs": 4, "n_train": 2, "var_train": 7.0, "var_eval": 2.0, "share_train": 7 / 9
    }  # fmt: skip
    assert (second["n_runs"], third["n_runs"]) == (1, 0)
    assert all(math.isnan(row[name]) for row in (second, third) for name in ("var_train", "var_eval", "share_train"))
    assert math.isnan(
        build_variance(suite, [run("base_1", s, e, 5.0) for s in (0, 1) for e in (0, 1)])[0]["share_train"]
    )
    cat, dog, *_ = build_per_class(suite, runs)
    assert (cat["exp_id"], cat["category"], cat["n_runs"], cat["mean_AP"]) == ("base_1", "cat", 4, 4.0)
    assert cat["std_AP_pop"] == math.sqrt(5)  # squares 9 + 1 + 1 + 9 over 4
    half = 12.706204736432095 * math.sqrt(8) / math.sqrt(2)  # means 2 and 6: s = sqrt(8); t of one degree of freedom
    assert (cat["ci95_low"], cat["ci95_high"]) == pytest.approx((4 - half, 4 + half))
    assert dog["category"] == "dog" and math.isnan(dog["mean_AP"]) and math.isnan(dog["ci95_low"])


def test_means_over_runs_by_hand(suite: Suite) -> None:
    def analysis(precision: float, confusion: dict[tuple[str, str], int], errors: dict[str, int]) -> RunAnalysis:
        return RunAnalysis({0.5: (precision,) * 51, 0.75: (0.0,) * 51}, confusion, errors, images=4)

    runs = {
        ("base_1", 0, 0): analysis(0.5, {("cat", "dog"): 2, ("dog", MISSED): 1}, {"both": 2}),
        ("base_1", 0, 1): analysis(1.0, {("cat", "dog"): 1, (BACKGROUND, "cat"): 1}, {"both": 6, "missed": 4}),
    }
    rows = build_precision_recall(suite, runs)
    assert len(rows) == 3 * 2 * 51 and [row["recall"] for row in rows[:51]] == list(RECALLS)
    assert rows[0] == {"exp_id": "base_1", "iou": 0.5, "recall": 0.0, "precision": 0.75, "std_pop": 0.25}
    assert math.isnan(rows[-1]["precision"]) and rows[-1]["exp_id"] == "student_1"
    assert [tuple(row.values()) for row in build_confusion(suite, runs, ("cat", "dog"))] == [
        ("base_1", "cat", "dog", 1.5),
        ("base_1", "dog", MISSED, 0.5),
        ("base_1", BACKGROUND, "cat", 0.5),
    ]
    errors = {row["kind"]: (row["per_image"], row["std_pop"]) for row in build_errors(suite, runs)[:6]}
    assert errors["both"] == (1.0, 0.5) and errors["missed"] == (0.5, 0.5) and errors["duplicate"] == (0.0, 0.0)


def test_tables_of_a_bundle_follow_from_its_detections(bundle: Path, suite: Suite) -> None:
    """Mean precision over recalls is AP at that IoU, but for the recalls left out; confusion adds up to the objects."""
    runs = read_tsv(bundle / "tables/runs.tsv", "results")
    rows = read_tsv(bundle / "tables/precision_recall.tsv", "precision_recall")
    confused = read_tsv(bundle / "tables/confusion.tsv", "confusion")
    for row in suite.rows:
        for iou, metric in ((0.5, "AP50"), (0.75, "AP75")):
            points = [r["precision"] for r in rows if (r["exp_id"], r["iou"]) == (row.exp_id, iou)]
            expected = np.mean([r[metric] for r in runs if r["exp_name"] == row.exp_id]) / 100
            assert len(points) == 51 and abs(np.mean(points) - expected) < 0.02
        objects = sum(r["per_run"] for r in confused if r["exp_id"] == row.exp_id and r["truth"] != BACKGROUND)
        assert objects == pytest.approx(12)  # two on each of six images
    looked_at = []
    for seed in (0, 1):
        found = read_detections(bundle / f"eval/student/seed{seed}/detections.safetensors")
        looked_at += [min(12, len(found["student_1", e])) for e in (0, 1)]
    assert not GroundTruth.load(bundle / "data/val.json").crowd
    predicted = sum(r["per_run"] for r in confused if r["exp_id"] == "student_1" and r["predicted"] != MISSED)
    assert predicted == pytest.approx(np.mean(looked_at))


@pytest.mark.parametrize(
    ("name", "row", "column", "place"),
    [
        ("per_class", 2, "mean_AP", "exp_id=base_1, category=dog"),
        ("variance", 1, "var_eval", "exp_id=base_1"),
        ("precision_recall", 1, "precision", "exp_id=base_1, iou=0.5, recall=0.0"),
        ("errors", 6, "per_image", "exp_id=base_1, kind=missed"),
    ],
)
def test_an_edited_cell(bundle: Path, reseal: Reseal, name: str, row: int, column: str, place: str) -> None:
    path = bundle / f"tables/{name}.tsv"
    lines = [line.split("\t") for line in path.read_text().splitlines()]
    old, lines[row][lines[0].index(column)] = lines[row][lines[0].index(column)], "0.9375"
    path.write_text("".join("\t".join(line) + "\n" for line in lines))
    reseal(bundle)
    report = verify(bundle, "tables", jobs=1)
    (finding,) = [finding for finding in report.findings if finding.path == f"tables/{name}.tsv"]
    assert (finding.kind, finding.row, finding.column) == ("row-edited", place, column)
    assert (finding.expected, finding.found) == (old, "0.9375")
    assert "figures were not compared: the tables that they show do not hold" in report.notes


def test_a_confusion_that_never_happened_and_one_left_out(bundle: Path, reseal: Reseal) -> None:
    path = bundle / "tables/confusion.tsv"
    header, first, *rest = path.read_text().splitlines()
    exp_id, truth, predicted, _ = first.split("\t")
    path.write_text("\n".join([header, *rest, f"{exp_id}\t{BACKGROUND}\tunicorn\t1.0"]) + "\n")
    reseal(bundle)
    found = {(f.kind, f.row) for f in verify(bundle, "tables", jobs=1).findings if f.path == "tables/confusion.tsv"}
    assert found == {
        ("row-missing", f"exp_id={exp_id}, truth={truth}, predicted={predicted}"),
        ("row-extra", f"exp_id={exp_id}, truth={BACKGROUND}, predicted=unicorn"),
    }


def strip(bundle: Path, suite: Suite, names: set[str], *, edition: int = 2, code: str = "") -> None:
    """Takes files out of a bundle and of all that speaks of them; with `edition` 1 as that edition has written it."""
    for name in names:
        (bundle / name).unlink()
    path = bundle / "tables/record.json"
    record = json.loads(path.read_text())
    record["products"] = [file for file in record["products"] if file["path"] not in names]
    if edition == 1:
        record["materials"] = [f for f in record["materials"] if f["path"].endswith(("results.tsv", "timing.tsv"))]
        codes = {part: code_digest(suite.root, part) for part in CODE_PARTS if part not in OF_STACKS}
        record["code_sha256"] = codes["tables"] = code or codes["tables"]
        configs = {name: suite.config_of(name) for name in suite.needed}
        record["parameters"]["digest"] = suite.with_sources(configs, codes).tables_digest(1)
    path.write_text(json.dumps(record))
    (bundle / "ro-crate-metadata.json").unlink()
    write_crate(bundle, suite)
    write_sha256sums(bundle)


def newer(suite: Suite) -> set[str]:
    return set(bundle_files(suite)) - set(bundle_files(suite, Extent(1)))


def test_what_the_second_edition_adds(suite: Suite) -> None:
    tables = {f"tables/{name}" for name in DETAIL_FILES}
    figures = {f"figures/{name}.{kind}" for name in DETAIL for kind in ("svg", "png", "pdf")}
    pdf = {f"figures/{name}.pdf" for name in ("summary_strip", "ap_over_steps", "comparisons", "speed_quality")}
    pdf |= {f"figures/{name}.pdf" for name in ("attention_cost", "loss_curves", "match_curves")}
    assert newer(suite) == tables | figures | pdf


def test_a_bundle_frozen_before_goes_on_to_verify(bundle: Path, suite: Suite) -> None:
    page = bundle / "report.html"
    page.write_text(page.read_text().replace(generator(), "c2o_evidence 0.1.0, texts 0123456789ab"))
    strip(bundle, suite, newer(suite), edition=1, code="1" * 64)
    report = verify(bundle, "tables", jobs=1)
    assert [str(finding) for finding in report.findings] == []
    assert "figures were not compared: drawn by another version of C2O" in report.notes
    alone = subprocess.run([sys.executable, "-I", "-S", bundle / "verify.py"], capture_output=True, text=True)
    assert alone.returncode == 0, alone.stdout


@pytest.mark.parametrize("name", ["tables/errors.tsv", "figures/per_class.pdf"])
def test_one_file_of_the_second_edition_taken_out_of_everything(bundle: Path, suite: Suite, name: str) -> None:
    strip(bundle, suite, {name})
    findings = verify(bundle, "tables", jobs=1).findings
    assert [f.kind for f in findings if f.path == name] == ["missing"]


@pytest.mark.parametrize("what", ["page", "record", "code"])
def test_all_files_of_the_second_edition_taken_out_but_one_trace(bundle: Path, suite: Suite, what: str) -> None:
    """The page that this version writes, what decided the tables, or the sources of this version give it away."""
    if what != "page":
        page = bundle / "report.html"
        page.write_text(page.read_text().replace(generator(), "c2o_evidence 0.1.0, texts 0123456789ab"))
    strip(bundle, suite, newer(suite), edition=2 if what == "record" else 1, code="" if what == "code" else "1" * 64)
    findings = verify(bundle, "tables", jobs=1).findings
    assert {f.path for f in findings if f.kind == "missing"} >= newer(suite)


def test_there_is_a_figure_of_ap_on_the_way_where_a_curve_has_it(root: Path) -> None:
    suite, base = load_suite("toy", root), root / "results/toy"
    assert extent_of(base, suite) == Extent()
    curve = base / "train/student/seed1/curve.tsv"
    lines = curve.read_text().splitlines()
    curve.write_text("\n".join([f"{lines[0]}\tAP", *(f"{line}\tnan" for line in lines[1:])]) + "\n")
    extent = extent_of(base, suite)
    assert extent.ap_curves and "figures/ap_curves.svg" in bundle_files(suite, extent)
    assert extent_of(base, suite, listed=()) == Extent() and extent_of(base, suite, edition=1) == Extent(1)
    shutil.rmtree(base / "train")
    assert extent_of(base, suite) == Extent()
