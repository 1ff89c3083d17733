"""Staging: the same results give the same bytes; what is missing is named; metadata and page are what they
should be.
"""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from c2o_evidence.bundle import bundle_files, stage_bundle
from c2o_evidence.errors import EvidenceError
from c2o_evidence.figures import build_figures, match_curves, write_figures
from c2o_evidence.report import inline_svg, render_report
from c2o_evidence.suite import load_suite
from c2o_evidence.tables import write_tables


def restage(root: Path) -> str:
    base = root / "results" / "toy"
    suite = load_suite("toy", root)
    lock = root / "requirements" / "lock.txt"
    return stage_bundle(base, base / "bundle", suite, data_dir=root / "data" / "toy", lock=lock)


def test_the_same_results_give_the_same_bundle(root: Path, bundle: Path) -> None:
    before = (bundle / "SHA256SUMS").read_bytes()
    write_tables(root / "results" / "toy", load_suite("toy", root), root / "data" / "toy")
    write_figures(root / "results" / "toy", load_suite("toy", root))
    restage(root)
    assert (root / "results/toy/bundle/SHA256SUMS").read_bytes() == before


def test_listed_is_what_the_suite_asks_for(root: Path, bundle: Path) -> None:
    listed = [line.split("  ")[1] for line in (bundle / "SHA256SUMS").read_text().splitlines()]
    assert listed == bundle_files(load_suite("toy", root)) == sorted(listed)
    there = sorted(path.relative_to(bundle).as_posix() for path in bundle.rglob("*") if path.is_file())
    assert there == sorted([*listed, "SHA256SUMS"])


def test_what_is_missing_is_named(root: Path) -> None:
    (root / "results/toy/eval/student/seed1/results.tsv").unlink()
    with pytest.raises(EvidenceError, match=r"eval/student/seed1/results\.tsv: missing or not a plain file"):
        restage(root)
    assert (root / "results/toy/bundle/SHA256SUMS").exists()  # the bundle before is kept


def test_links_are_not_followed(root: Path, tmp_path: Path) -> None:
    path = root / "results/toy/eval/student/seed1/results.tsv"
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(EvidenceError, match="missing or not a plain file"):
        restage(root)


def test_crate(bundle: Path) -> None:
    text = (bundle / "ro-crate-metadata.json").read_text()
    assert "/tmp" not in text and str(bundle) not in text
    graph = {entity["@id"]: entity for entity in json.loads(text)["@graph"]}
    assert list(graph) == sorted(graph)
    model = graph["train/baseline/seed0/model.safetensors"]
    assert f"{model['sha256']}  train/baseline/seed0/model.safetensors" in (bundle / "SHA256SUMS").read_text()
    assert graph["./"]["mainEntity"] == {"@id": "suite.yaml"}
    action = graph["#run"]
    assert action["@type"] == "CreateAction" and action["startTime"] == "2024-01-31T12:00:00+00:00"
    assert {"@id": "data/val.json"} in action["object"]
    assert {"@id": "tables/summary.tsv"} in action["result"]


class Page(HTMLParser):
    """Collects tags left open and addresses."""

    VOID = frozenset({"meta", "br", "link", "img", "input", "use", "path"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.addresses += [value or "" for key, value in attributes if key in ("src", "href", "xlink:href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.addresses += [value or "" for key, value in attributes if key in ("src", "href", "xlink:href")]

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag


def test_page_is_whole_and_fetches_nothing(bundle: Path) -> None:
    source = (bundle / "report.html").read_text()
    page = Page()
    page.feed(source)
    assert page.open == []
    inside = [address for address in page.addresses if address.startswith(("#", "data:image/"))]
    assert [
        a for a in page.addresses if a not in inside and not (bundle / a).is_file()
    ] == []  # else files of the bundle
    assert "url(http" not in source
    assert "Toy &amp; friends" in source and "A &lt;b&gt;small&lt;/b&gt; suite." in source
    checkpoint = (bundle / "train/baseline/seed0/model.safetensors.sha256").read_text().split()[0]
    assert checkpoint in source
    ids = re.findall(r'(?:url\(#|href="#)([^)"]+)', source)
    for name in set(ids):
        assert source.count(f'id="{name}"') == 1  # figures do not share what they refer to


def test_page_says_what_the_tables_say(root: Path, bundle: Path) -> None:
    path = bundle / "tables" / "summary.tsv"
    cells = path.read_text().split("\n")[1].split("\t")
    assert f"<strong>{float(cells[7]):.2f} ± {float(cells[8]):.2f}</strong>" in render_report(
        bundle, load_suite("toy", root)
    )


def test_svg_with_a_script_is_refused() -> None:
    with pytest.raises(EvidenceError, match="is not a plain SVG"):
        inline_svg(b"<svg><script>1</script></svg>", "x")


def test_figures_have_no_dates_and_survive_undefined_numbers(root: Path) -> None:
    suite = load_suite("toy", root)
    files = build_figures(suite, [], [], {})
    names = ("summary_strip", "ap_over_steps", "comparisons", "speed_quality", "attention_cost")
    names += (
        "variance_split",
        "per_class",
        "precision_recall",
        "confusion",
        "error_types",
        "loss_curves",
        "match_curves",
    )
    assert set(files) == {f"{name}.{kind}" for name in names for kind in ("svg", "png", "pdf")}
    assert files == build_figures(suite, [], [], {})
    assert b"dc:date" not in files["summary_strip.svg"]


def test_match_curves_show_the_trainings_that_have_them(root: Path) -> None:
    suite = load_suite("toy", root)
    first, second = suite.train_jobs[:2]
    plain = [{"iteration": i, "lr": 0.1, "loss": 1.0} for i in (20, 40)]
    rich = [{**row, "class_accuracy": 0.25 * n, "l1": 1.0 / n} for n, row in enumerate(plain, start=1)]
    shown = match_curves(suite, {first: plain, second: rich})
    accuracy, l1 = shown.axes
    assert [line.get_xydata().tolist() for line in accuracy.lines] == [[[20, 0.25], [40, 0.5]]]
    assert [line.get_xydata().tolist() for line in l1.lines] == [[[20, 1.0], [40, 0.5]]]
    assert [text.get_text() for text in shown.legends[0].get_texts()] == [second[0]]
    assert [len(axes.lines) for axes in match_curves(suite, {first: plain}).axes] == [0, 0]
