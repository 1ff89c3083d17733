"""Figures of a suite: what carries data has an id, they print, and they hold nothing that another day would change."""

import re
from collections import Counter
from pathlib import Path

import pytest

from c2o_evidence.analysis import KINDS
from c2o_evidence.extent import Extent
from c2o_evidence.figures import figure_names
from c2o_evidence.figures.canvas import style_of
from c2o_evidence.figures.curves import ap_curves
from c2o_evidence.figures.detail import confusion_matrices, per_class
from c2o_evidence.report.pictures import CAPTIONS, LEFT_OUT
from c2o_evidence.suite import Suite, load_suite
from c2o_evidence.svg import svg_fault

ROWS = ("base_1", "base_4", "student_1")


@pytest.fixture(scope="module")
def suite(built: Path) -> Suite:
    return load_suite("toy", built)


@pytest.fixture(scope="module")
def drawn(built: Path, suite: Suite) -> dict[str, str]:
    """The SVG of each figure."""
    return {name: (built / f"results/toy/figures/{name}.svg").read_text() for name in figure_names(suite)}


def ids(svg: str) -> list[str]:
    return [gid for gid in re.findall(r' id="([^"]*)"', svg) if re.match(r"(run|row|curve|comparison|confusion):", gid)]


def test_ids_of_what_carries_data(drawn: dict[str, str]) -> None:
    expected = {
        "summary_strip": [f"run:{r}:{t}:{e}" for r in ROWS for t in (0, 1) for e in (0, 1)]
        + [f"row:{r}" for r in ROWS],
        "ap_over_steps": [f"row:{r}" for r in ROWS],
        "speed_quality": [f"row:{r}" for r in ROWS],
        "comparisons": ["comparison:student_1:base_1"],
        "per_class": [f"row:{r}" for r in ROWS],
        "precision_recall": [f"row:{r}:{iou}" for r in ROWS for iou in (0.5, 0.75)],
        "confusion": ["confusion:base_1", "confusion:student_1"],
        "error_types": [f"row:{r}:{kind}" for r in ROWS for kind in KINDS],
        "variance_split": [f"row:{r}:{part}" for r in ROWS for part in ("train", "eval")],
        "loss_curves": [
            f"curve:{e}:{s}" for e, s in (("backbone", 0), *((e, s) for e in ("baseline", "student") for s in (0, 1)))
        ],
    }
    for name, wanted in expected.items():
        assert sorted(ids(drawn[name])) == sorted(wanted), name


def test_no_id_is_there_twice_and_every_picture_is_a_plain_one(drawn: dict[str, str]) -> None:
    for name, svg in drawn.items():
        twice = [gid for gid, count in Counter(re.findall(r' id="([^"]*)"', svg)).items() if count > 1]
        assert (
            twice == []
            and svg_fault(svg[svg.index("<svg") :].split("<metadata>")[0] + svg.split("</metadata>")[-1]) is None
        ), name


def test_letters_can_be_read_in_print(drawn: dict[str, str]) -> None:
    """Six points or more where the figure is as wide as it was drawn."""
    for name, svg in drawn.items():
        sizes = [float(size) for size in re.findall(r"font: ?(?:\d+ )?([\d.]+)px", svg)]
        sizes += [float(size) for size in re.findall(r"font-size: ?([\d.]+)px", svg)]
        assert sizes and min(sizes) >= 6.0, name
        assert re.search(r'viewBox="0 0 504 ', svg), name  # 7 inches


def test_pdf_has_its_fonts_inside_and_no_date(built: Path, suite: Suite) -> None:
    for name in figure_names(suite):
        data = (built / f"results/toy/figures/{name}.pdf").read_bytes()
        assert data.startswith(b"%PDF-") and b"/FontFile2" in data and b"/Type3" not in data
        assert b"Date" not in data and b"/Producer" not in data and b"/Creator" not in data


def test_every_figure_has_a_caption_on_the_page_and_in_the_report(suite: Suite) -> None:
    names = figure_names(suite, Extent(ap_curves=True))
    caption = (Path(__file__).resolve().parents[3] / "workflow/report/figures.rst").read_text()
    assert [name for name in names if name not in (*CAPTIONS, *LEFT_OUT)] == []
    assert [name for name in names if f'"{name}": ' not in caption] == []


def test_rows_differ_in_more_than_colour() -> None:
    looks = [tuple(style_of(index).values()) for index in range(32)]
    assert len(set(looks)) == 32
    assert len({look[1:] for look in looks[:8]}) == 8  # without colour


def test_of_many_classes_the_best_and_the_worst_are_shown(suite: Suite) -> None:
    rows = [
        {"exp_id": "base_1", "category": f"c{n:03d}", "n_runs": 1, "mean_AP": float(n), "std_AP_pop": 0.0,
         "ci95_low": float("nan"), "ci95_high": float("nan")}
        for n in range(60)
    ]  # fmt: skip
    (axes,) = per_class(suite, rows).axes
    shown = [label.get_text() for label in axes.get_yticklabels()]
    assert shown == [f"c{n:03d}" for n in (*range(20), *range(40, 60))]
    assert "20 lowest and 20 highest of 60" in axes.get_xlabel()


def test_a_matrix_sums_to_one_by_line_and_keeps_the_classes_with_most_confusion(suite: Suite) -> None:
    classes = [{"category": f"c{n:02d}"} for n in range(30)]
    rows = [{"exp_id": "base_1", "truth": "c29", "predicted": "c28", "per_run": 1.0}]
    rows += [{"exp_id": "base_1", "truth": "c29", "predicted": "(missed)", "per_run": 3.0}]
    figure = confusion_matrices(suite, rows, classes)
    left, right = figure.axes
    names = [label.get_text() for label in left.get_yticklabels()]
    assert names == [f"c{n:02d}" for n in (*range(22), 28, 29)] + ["(background)"]
    share = left.collections[0].get_array()
    assert share.shape == (25, 25) and share[23].tolist() == [0.0] * 22 + [0.25, 0.0, 0.75] and share.sum() == 1.0
    assert right.collections[0].get_array().sum() == 0.0 and "24 of 30 classes" in left.get_ylabel()


def test_class_names_are_no_formulas(suite: Suite) -> None:
    """A name with two dollar signs would be set as mathematics, and an unfinished one would end the drawing."""
    rows = [{"exp_id": "base_1", "truth": "$x_{$", "predicted": "$x_{$", "per_run": 1.0}]
    confusion_matrices(suite, rows, [{"category": "$x_{$"}]).draw_without_rendering()


def test_ap_on_the_way_shows_evaluations_alone(suite: Suite) -> None:
    nan = float("nan")
    curve = [{"iteration": n, "loss": 1.0, "AP": 10.0 * n if n % 2 == 0 else nan} for n in range(1, 5)]
    (axes,) = ap_curves(suite, {("student", 1): curve, ("student", 0): [{"iteration": 1, "loss": 1.0}]}).axes
    (line,) = axes.get_lines()
    assert line.get_gid() == "curve:student:1" and line.get_xydata().tolist() == [[2.0, 20.0], [4.0, 40.0]]
