"""The parts of the page without a browser: what is drawn where, matched, left out, escaped."""

import itertools
import json
import math
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from scipy import stats as scipy_stats

from c2o_evidence import cli
from c2o_evidence.detections import Detections
from c2o_evidence.errors import EvidenceError
from c2o_evidence.report import arms, dag, gallery, headline, inline_svg, render_report
from c2o_evidence.report.page import view
from c2o_evidence.report.render import _sources, own_text
from c2o_evidence.report.source import Source
from c2o_evidence.report.whole import render_whole, source_of
from c2o_evidence.suite import Suite, load_resolved_suite, load_suite

ROOT = Path(__file__).resolve().parents[3]
SUITES = sorted(path.stem for path in (ROOT / "configs" / "suites").glob("*.yaml"))


def source_at(bundle: Path) -> Source:
    return Source(bundle, load_resolved_suite(bundle / "suite.yaml"), bundle / "data", place="deliverables/toy")


def ends_of(d: str, boxes: dict[str, dict]) -> tuple[str, str]:
    """The boxes that a path leaves on the right side and reaches on the left."""
    numbers = [float(number) for number in re.findall(r"-?\d+(?:\.\d+)?", d)]

    def box_at(x: float, y: float, right: bool) -> str:
        (found,) = [
            name
            for name, box in boxes.items()
            if abs(box["x"] + right * box["width"] - x) <= 1 and box["y"] <= y <= box["y"] + box["height"]
        ]
        return found

    return box_at(*numbers[:2], True), box_at(*numbers[-2:], False)


class TestDag:
    def drawing(self, suite: Suite) -> dict | None:
        source = Source(Path(), suite, None)
        source.__dict__["summary"] = []
        return dag.drawing(source)

    @pytest.mark.parametrize("name", SUITES)
    def test_edges_lead_from_side_to_side_and_no_box_lies_on_another(self, name: str) -> None:
        suite = load_suite(name, ROOT)
        drawn = self.drawing(suite)
        if not suite.rows:
            assert drawn is None
            return
        boxes = {box["title"]: box for box in drawn["boxes"]}
        assert set(boxes) == {suite.data_name, *suite.needed}
        for a, b in itertools.combinations(boxes.values(), 2):
            beside = a["x"] + a["width"] < b["x"] or b["x"] + b["width"] < a["x"]
            assert beside or a["y"] + a["height"] < b["y"] or b["y"] + b["height"] < a["y"]
        for box in boxes.values():
            assert 0 <= box["x"] <= box["x"] + box["width"] <= drawn["width"]
            assert 0 <= box["y"] <= box["y"] + box["height"] <= drawn["height"]
        specs = suite.experiments
        wanted = [(specs[n].init or suite.data_name, n) for n in suite.needed if specs[n].init or not specs[n].teacher]
        wanted += [(specs[n].teacher, n) for n in suite.needed if specs[n].teacher]
        assert sorted(ends_of(edge["d"], boxes) for edge in drawn["edges"]) == sorted(wanted)

    def test_in_words(self) -> None:
        said = self.drawing(load_suite("step1_5seed", ROOT))["said"]
        assert "distill_20to1 starts from warmstart, with warmstart as teacher and gives student_1;" in said


class TestMatrix:
    def test_against_scipy(self, bundle: Path) -> None:
        source = source_at(bundle)
        found = arms.matrix(source)
        (arm,) = found["arms"]
        for metric, cell in zip(found["metrics"], arm["cells"], strict=True):
            means = {
                name: [
                    np.mean([r[metric] for r in source.runs if (r["exp_name"], r["train_seed"]) == (name, seed)])
                    for seed in (0, 1)
                ]
                for name in ("student_1", "base_1")
            }
            test = scipy_stats.ttest_rel(means["student_1"], means["base_1"])
            low, high = test.confidence_interval(0.95)
            assert cell["difference"] == f"{np.mean(means['student_1']) - np.mean(means['base_1']):+.2f}"
            assert cell["interval"] == f"{low:+.2f} to {high:+.2f}"
            assert cell["state"] == ("yes" if low > 0 else "no" if high < 0 else "undecided")

    def test_what_no_run_has_is_no_column(self, bundle: Path) -> None:
        source = source_at(bundle)
        assert all(math.isnan(run["APl"]) for run in source.runs)  # there is no large object
        assert "APl" not in arms.matrix(source)["metrics"]


class TestHeadline:
    def test_in_a_sentence(self) -> None:
        states = [{"state": state} for state in ("yes", "undecided", "yes", "no")]
        assert headline.verdict_of(states) == "Of 4 claims, 2 hold, 1 does not hold, 1 is not shown."
        assert headline.verdict_of(states[:1]) == "Of 1 claim, 1 holds."

    def test_bars_lie_between_the_ends(self, bundle: Path) -> None:
        source = source_at(bundle)
        bars = headline.bars(source)
        aps = [run["AP"] for run in source.runs]
        span = max(aps) - min(aps)
        low = min(aps) - 0.05 * span
        for row in source.summary:
            place = 100 * (row["mean_AP"] - low) / (1.1 * span)
            assert bars["rows"][row["exp_id"]]["mean"] == pytest.approx(place, abs=0.01)


class TestGallery:
    def test_a_box_is_right_once_and_best_first(self) -> None:
        objects = [((0, 0, 10, 10), "cat"), ((20, 20, 30, 30), "dog")]
        found = Detections.from_arrays(
            {
                "image_id": [7, 7, 7, 7, 8],
                "box": [[0, 0, 10, 9], [0, 0, 10, 10], [20, 20, 30, 30], [0, 0, 9, 9], [0, 0, 1, 1]],
                "score": [0.6, 0.9, 0.8, 0.4, 1.0],
                "label": [0, 0, 0, 0, 0],
            }
        )
        objects.append(((90, 90, 99, 99), "dog"))
        shown = gallery._shown(found, ["cat", "dog"], 7, objects)
        assert [(item.score, item.right) for item in shown] == [  # as many as objects
            (pytest.approx(0.9), True),  # the cat
            (pytest.approx(0.8), False),  # a dog, called cat
            (pytest.approx(0.6), False),  # the cat again
        ]
        assert gallery._said(shown, 3) == "1 of 3 objects found, 2 wrong"

    def test_one_is_drawn_where_there_is_nothing(self) -> None:
        found = Detections.from_arrays(
            {"image_id": [1] * 7, "box": [[0, 0, 4, 4]] * 7, "score": np.linspace(0.1, 0.2, 7), "label": [0] * 7}
        )
        shown = gallery._shown(found, ["cat"], 1, [])
        assert len(shown) == 1 and shown[0].score == pytest.approx(0.2)
        assert gallery._said(shown, 0) == "0 of 0 objects found, 1 wrong"

    def test_pictures_and_names_are_escaped(self, bundle: Path) -> None:
        val = bundle / "data" / "val.json"
        document = json.loads(val.read_text())
        document["categories"][0]["name"] = "<script>alert(1)</script>"
        val.write_text(json.dumps(document))
        page = render_report(bundle, load_resolved_suite(bundle / "suite.yaml"))
        assert "<script>alert" not in page and "&lt;script&gt;alert(1)" in page
        assert page.count("data:image/png;base64,") == 2  # each picture once, however often it is shown

    def test_a_picture_that_is_another_is_refused(self, bundle: Path) -> None:
        (bundle / "gallery" / "images" / "0.png").write_bytes(b"<svg onload='alert(1)'/>")
        with pytest.raises(EvidenceError, match=r"gallery/images/0\.png: is no PNG; restore the file"):
            render_report(bundle, load_resolved_suite(bundle / "suite.yaml"))


class TestInline:
    SOURCE = b"""<?xml version="1.0"?>
<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="9pt" viewBox="0 0 9 9">
 <defs><style type="text/css">*{stroke-linecap: butt}</style></defs>
 <g id="figure_1"><path id="p1" d="M 0 0\nL 1 1" style="fill: #ffffff; font: 9px x; stroke: #000000"/>
  <g id="run:a.1:0:2"><use xlink:href="#p1" style="fill: #0072b2; clip-path: url(#p1)"/></g>
  <text style="font-size: 9px">a &lt; b</text></g>
</svg>"""

    def test_styles_become_attributes(self) -> None:
        text = inline_svg(self.SOURCE, "x & y", "s-", lambda gid: f"<{gid}>")
        assert not [word for word in ("style", "xlink", "font:", "9pt") if word in text]
        assert '<path d="M 0 0 L 1 1" fill="none" stroke="currentColor" id="s-p1" />' in text
        assert '<g class="mark run" data-gid="run:a.1:0:2"><title>&lt;run:a.1:0:2&gt;</title>' in text
        assert '<use href="#s-p1" fill="var(--c0)" clip-path="url(#s-p1)" />' in text
        assert '<text font-size="9px">a &lt; b</text>' in text and "figure_1" not in text
        assert text.startswith('<svg viewBox="0 0 9 9" class="figure" role="img" aria-label="x &amp; y"')

    def test_every_figure_of_a_page_is_without_styles(self, bundle: Path) -> None:
        page = render_report(bundle, load_resolved_suite(bundle / "suite.yaml"))
        body = page.split("</style>")[1]
        assert "style=" not in body and "<style" not in body and page.count("<script") == 1


class TestWhatIsNotThere:
    def test_a_bundle_of_before_has_a_page_without_the_new_parts(self, bundle: Path) -> None:
        for name in ("per_class", "variance", "precision_recall", "confusion", "errors"):
            (bundle / "tables" / f"{name}.tsv").unlink()
        shutil.rmtree(bundle / "gallery", ignore_errors=True)
        for path in bundle.glob("figures/*"):
            if path.suffix == ".pdf" or path.stem in ("variance_split", "per_class", "precision_recall", "error_types"):
                path.unlink()
        shown = view(source_at(bundle))
        assert [part["part"] for part in shown["parts"]] == [
            *("results", "arms", "spread", "speed", "training", "timing", "dag", "evidence")
        ]
        page = render_report(bundle, load_resolved_suite(bundle / "suite.yaml"))
        assert "Classes and errors" not in page and "(svg, png)" in page
        assert shown["spread"][0]["between"] == pytest.approx(source_at(bundle).summary[0]["std_between_train"])

    def test_results_that_are_not_frozen_say_so(self, root: Path) -> None:
        text = render_whole(["toy"], root).text
        assert "not frozen" in text and "c2o run toy" in text and "c2o verify" not in text


class TestCommand:
    def test_one_page_over_all(self, frozen: Path, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        shutil.copytree(root / "results" / "toy", root / "results" / "broken")
        out = root / "all.html"
        assert cli.main(["--root", str(root), "report", "-o", str(out)]) == 1
        told = capsys.readouterr()
        assert told.err.startswith("broken: cannot be shown: ") and "1 suite, " in told.out
        page = out.read_text()
        assert "broken: cannot be shown" in page and "revision 1, as the ledger has it" in page
        ledger = root / "manifests" / "deliverables.tsv"
        ledger.write_text(re.sub(r"[0-9a-f]{64}", "a" * 64, ledger.read_text()))
        assert f"the ledger has {'a' * 64}" in render_whole(["toy"], root).text

    def test_results_before_the_deliverable_where_one_is_asked_for(self, frozen: Path, root: Path) -> None:
        assert source_of("toy", root, frozen_first=False).place == "results/toy"
        assert source_of("toy", root).place == "deliverables/toy"
        assert source_of(str(frozen), root).base == frozen

    def test_nothing_to_show(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert cli.main(["--root", str(tmp_path), "report", "-o", str(tmp_path / "x.html")]) == 2
        assert "no results here: build a suite first, `c2o run quick`" in capsys.readouterr().err
        assert cli.main(["--root", str(tmp_path), "report", "none", "-o", str(tmp_path / "x.html")]) == 2
        assert "none: has no tables in deliverables/ or results/ here; run `c2o run none`" in capsys.readouterr().err
        assert not (tmp_path / "x.html").exists()

    def test_the_page_of_a_bundle_is_not_replaced(self, frozen: Path, root: Path, capsys) -> None:
        before = (frozen / "report.html").read_bytes()
        for out, told in (
            (frozen / "report.html", "which holds evidence alone; name a directory elsewhere"),
            (root, "is a directory; name a file, such as "),
        ):
            assert cli.main(["--root", str(root), "report", "-o", str(out)]) == 2
            assert told in capsys.readouterr().err
        assert (frozen / "report.html").read_bytes() == before


def test_every_source_of_the_page_is_in_the_digest_of_its_words() -> None:
    package = ROOT / "c2o_evidence"
    found = {Path(str(item)).resolve() for item in _sources()}
    own = [path for place in ("report", "templates") for path in (package / place).rglob("*") if path.is_file()]
    assert {path.resolve() for path in own if "__pycache__" not in path.parts} <= found


def test_script_and_style_are_small_and_close_no_element() -> None:
    for name in ("report/report.js", "report/report.css"):
        text, digest = own_text(name)
        assert text.count("\n") < 300 and "</" not in text and digest.startswith("sha256-")


def test_freezing_keeps_the_page(frozen: Path) -> None:
    assert (frozen / "report.html").read_text() == render_report(frozen, load_resolved_suite(frozen / "suite.yaml"))
