"""The report in a real browser: what a reader does with it works, and nothing leaves the page."""

import hashlib
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from c2o_evidence.tsv import read_tsv

Visits = Callable[..., "Visit"]  # noqa: F821  tests/browser/conftest.py
RESULTS = "#results table"


def column(page, table: str, number: int) -> list[str]:
    """Texts of a column (the first is 1) of the rows that are shown."""
    cells = page.locator(f"{table} tbody tr:not([hidden]) > :nth-child({number})")
    return [text.strip() for text in cells.all_inner_texts()]


def test_it_begins_with_claims_numbers_and_how_to_check(visit: Visits, report: Path, bundle: Path) -> None:
    page = visit(report).page
    (row,) = read_tsv(bundle / "tables" / "comparisons.tsv", "comparisons")
    assert row["holds"] == "undecided"
    answer = page.locator(".answers li")
    assert answer.count() == 1 and "distillation helps" in answer.inner_text()
    assert answer.locator(".word").inner_text() == "Not shown"
    assert f"{row['mean_diff']:+.2f} AP" in answer.inner_text()
    facts = page.locator(".facts").inner_text()
    runs = read_tsv(bundle / "tables" / "runs.tsv", "results")
    assert f"{len(runs)} runs of {len({run['ckpt_sha256'] for run in runs})} checkpoints" in facts
    assert "c2o verify deliverables/toy --level tables" in facts
    assert page.locator(".facts").bounding_box()["y"] < 800  # on the first screen


def test_every_part_is_there_once(visit: Visits, report: Path) -> None:
    page = visit(report).page
    linked = [link.get_attribute("href")[1:] for link in page.locator("nav.toc a").all()]
    assert linked == [
        "results",
        "arms",
        "spread",
        "speed",
        "classes",
        "gallery",
        "training",
        "timing",
        "dag",
        "evidence",
    ]
    for part in linked:
        assert page.locator(f'[id="{part}"]').count() == 1
    twice = page.evaluate(
        "() => { const ids = [...document.querySelectorAll('[id]')].map(e => e.id);"
        " return ids.filter((id, i) => ids.indexOf(id) !== i); }"
    )
    assert twice == []


def test_sorting_by_number_by_text_and_back(visit: Visits, report: Path, bundle: Path) -> None:
    page = visit(report).page
    summary = read_tsv(bundle / "tables" / "summary.tsv", "summary")
    by_ap = [row["label"] for row in sorted(summary, key=lambda row: row["mean_AP"])]
    header = page.locator(f"{RESULTS} thead th", has_text=re.compile("^AP$"))
    header.locator("button").click()
    assert header.get_attribute("aria-sort") == "descending"
    assert column(page, RESULTS, 1) == by_ap[::-1]
    header.locator("button").click()
    assert header.get_attribute("aria-sort") == "ascending"
    assert column(page, RESULTS, 1) == by_ap
    page.locator(f"{RESULTS} thead th button").first.click()
    assert header.get_attribute("aria-sort") is None
    assert column(page, RESULTS, 1) == sorted(row["label"] for row in summary)


def test_what_is_undefined_is_sorted_last(visit: Visits, report: Path) -> None:
    page = visit(report).page
    number = page.locator(f"{RESULTS} thead th").count()  # speed-up: asked for of one row alone
    for _ in range(2):
        page.locator(f"{RESULTS} thead th button").last.click()
        assert [text == "–" for text in column(page, RESULTS, number)] == [False, True, True]


def test_filtering(visit: Visits, report: Path) -> None:
    page = visit(report).page
    box = page.get_by_label("Filter rows").first
    box.fill("STEP baseline")
    assert column(page, RESULTS, 1) == ["Baseline, 1 step", "Baseline, 4 steps"]
    assert page.locator("#results [role=status]").inner_text() == "2 of 3 rows"
    box.fill("nothing has this")
    assert column(page, RESULTS, 1) == []
    box.fill("")
    assert len(column(page, RESULTS, 1)) == 3


def test_from_a_number_to_the_digest_of_its_checkpoint(visit: Visits, report: Path, bundle: Path) -> None:
    page = visit(report).page
    page.locator(f"{RESULTS} tbody tr", has_text="Student").locator("a.num").click()
    panel = page.locator("dialog[open]")
    assert "Student | 1 step" in panel.locator("h2").inner_text()
    digests = panel.locator("code.digest[data-copy]").all_inner_texts()
    files = [bundle / f"train/student/seed{seed}/model.safetensors" for seed in (0, 1)]
    assert digests == [hashlib.sha256(path.read_bytes()).hexdigest() for path in files]
    told = panel.inner_text()
    assert "eval/student/seed1/results.tsv" in told and "c2o show toy:student_1:0:0" in told
    assert "c2o verify deliverables/toy --level tables" in told
    for run in read_tsv(bundle / "tables" / "runs.tsv", "results"):
        if run["exp_name"] == "student_1":
            assert f"eval seed {run['eval_seed']}: {run['AP']:.2f}" in told
    page.keyboard.press("Escape")
    assert page.locator("dialog[open]").count() == 0


def test_from_a_difference_to_its_seeds_and_on_to_a_row(visit: Visits, report: Path, bundle: Path) -> None:
    page = visit(report).page
    page.locator(".answers a.num").click()
    panel = page.locator("dialog[open]")
    runs = read_tsv(bundle / "tables" / "runs.tsv", "results")

    def mean(name: str, seed: int) -> float:
        values = [run["AP"] for run in runs if (run["exp_name"], run["train_seed"]) == (name, seed)]
        return sum(values) / len(values)

    found = panel.locator("tbody tr > :last-child").all_inner_texts()
    assert found == [f"{mean('student_1', seed) - mean('base_1', seed):+.2f}" for seed in (0, 1)]
    panel.get_by_role("link", name="Baseline, 1 step").click()
    assert "base_1" in panel.inner_text() and "Baseline, 1 step" in panel.locator("h2").inner_text()


def test_copying_a_command(visit: Visits, report: Path) -> None:
    page = visit(report, permissions=["clipboard-read", "clipboard-write"]).page
    page.get_by_role("button", name="copy c2o verify deliverables/toy --level tables").first.click()
    page.locator(".copy", has_text="copied").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == "c2o verify deliverables/toy --level tables"


def test_a_cell_says_more_when_pointed_at(visit: Visits, report: Path, bundle: Path) -> None:
    page = visit(report).page
    row = read_tsv(bundle / "tables" / "per_class.tsv", "per_class")[0]
    page.locator("#classes td[data-tip]").first.hover()
    told = page.locator("#tip").inner_text()
    assert f"AP {row['mean_AP']:.2f}" in told and f"over {row['n_runs']} runs" in told
    page.keyboard.press("Escape")
    assert page.locator("#tip").is_hidden()


def test_pictures_are_switched_by_style_alone(visit: Visits, report: Path) -> None:
    page = visit(report, java_script_enabled=False).page
    truth, found = page.locator(".truth.own rect").first, page.locator(".found rect").first
    assert truth.is_visible() and found.is_visible()
    page.locator(".show-truth").uncheck()
    assert truth.is_hidden() and found.is_visible()
    page.locator(".show-found").uncheck()
    assert found.is_hidden()


def test_pictures_say_what_is_in_them(visit: Visits, report: Path) -> None:
    page = visit(report).page
    first = page.locator(".panels").first.get_by_role("img")
    said = [image.get_attribute("aria-label") for image in first.all()]
    assert said[0] == "Image 2, ground truth: 2 objects: cat, dog"
    assert re.fullmatch(r"Image 2, Baseline, 4 steps: \d of 2 objects found, \d wrong.*", said[1])
    assert len(said) == 3
    frames = page.locator(".film svg")
    assert frames.count() == 4 and frames.first.get_attribute("aria-label").startswith("Step 1, time 750: ")


def test_without_script_everything_is_there(visit: Visits, report: Path, bundle: Path) -> None:
    page = visit(report, java_script_enabled=False).page
    assert len(column(page, RESULTS, 1)) == 3 and page.locator("button").count() == 0
    page.locator(f"{RESULTS} a.num").last.click()
    block = page.locator('[id="row-student_1"]')
    digest = hashlib.sha256((bundle / "train/student/seed0/model.safetensors").read_bytes()).hexdigest()
    assert digest in block.locator("code.digest").all_text_contents()
    block.locator("summary").click() if block.get_attribute("open") is None else None
    assert block.locator("code.digest").first.is_visible()


def test_a_link_to_a_folded_part_opens_it(visit: Visits, report: Path) -> None:
    page = visit(report, anchor="#row-base_4").page
    assert page.locator('[id="row-base_4"]').get_attribute("open") is not None


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_scrolls_tables_but_not_the_page(visit: Visits, report: Path, whole: Path, scheme: str) -> None:
    for path in (report, whole):
        page = visit(path, viewport={"width": 360, "height": 740}, color_scheme=scheme, device_scale_factor=2).page
        page.evaluate("document.querySelectorAll('details').forEach(item => { item.open = true; })")
        assert page.evaluate("[document.documentElement.scrollWidth, document.body.scrollWidth]") == [360, 360]
        page.locator(f"{RESULTS} a.num" if path == report else "#suites a.num").first.click()
        assert page.evaluate("document.querySelector('dialog').scrollWidth") <= 360


def test_figures_can_be_read_in_the_dark(visit: Visits, report: Path) -> None:
    for scheme, dark in (("light", False), ("dark", True)):
        page = visit(report, color_scheme=scheme).page
        colours = page.evaluate(
            "() => ['svg.figure text', 'body'].map(name => getComputedStyle(document.querySelector(name)))"
            ".map((style, i) => i ? style.backgroundColor : style.fill)"
        )
        text, paper = (sum(map(int, re.findall(r"\d+", colour)[:3])) / 3 for colour in colours)
        assert (text > paper) == dark and abs(text - paper) > 150


def test_print_opens_what_is_folded_and_leaves_controls_out(visit: Visits, report: Path) -> None:
    page = visit(report, viewport={"width": 760, "height": 1000}, color_scheme="dark").page  # A4 with margins
    page.emulate_media(media="print")
    assert page.evaluate("document.documentElement.scrollWidth") <= 760
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(0, 0, 0)"
    assert page.locator(".filter, .copy, nav.toc, .switches").locator("visible=true").count() == 0
    block = page.locator('[id="row-student_1"] code.digest').first
    assert block.bounding_box()["height"] > 0
    page.emulate_media(media="screen")


def test_by_keyboard_alone(visit: Visits, report: Path) -> None:
    page = visit(report).page

    def focused() -> str:
        return page.evaluate("document.activeElement.textContent.trim()")

    for _ in range(40):  # to the first table's headers
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.matches('#results th button')"):
            break
    assert focused() == "setting"
    page.keyboard.press("Tab")
    assert focused() == "AP"
    header = page.locator(f"{RESULTS} thead th", has_text=re.compile("^AP$"))
    page.keyboard.press("Enter")
    assert header.get_attribute("aria-sort") == "descending" and focused() == "AP"
    page.keyboard.press("Space")
    assert header.get_attribute("aria-sort") == "ascending"
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.matches('#results a.num')"):
            break
    number = focused()
    page.keyboard.press("Enter")
    panel = page.locator("dialog[open]")
    assert number in panel.locator("h2").inner_text()
    assert page.evaluate("document.activeElement.closest('dialog') !== null")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('dialog') !== null")
    page.keyboard.press("Escape")
    assert panel.count() == 0 and focused() == number  # back where the reader was


def test_all_results_on_one_page(visit: Visits, whole: Path) -> None:
    page = visit(whole).page
    assert column(page, "#suites table", 1) == ["other\nToy & friends", "toy\nToy & friends"]
    assert len(column(page, "#rows table", 1)) == 6 and len(column(page, "#arms table", 1)) == 2
    page.locator("#suites").get_by_role("link", name="toy").click()
    part = page.locator('[id="toy-suite"]')
    part.locator("h2", has_text="Results").wait_for(state="visible")
    page.locator("#rows tbody tr").last.locator("a.num").click()
    assert "c2o show toy:student_1:1:0" in page.locator("dialog[open]").inner_text()
