"""Texts that do something where they are shown: in a spreadsheet, a browser, a Markdown or LaTeX reader, a terminal."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from c2o_evidence.printable import printable
from c2o_evidence.report import inline_svg
from c2o_evidence.svg import svg_fault
from c2o_evidence.tables.text import latex_escape, markdown_escape
from c2o_evidence.tsv import text_fault
from c2o_evidence.verify.findings import Finding, Report
from tests.drills.sandbox import Sandbox, edit, seal

FORMULAS = [
    "=1+1",
    "=cmd|'/C calc'!A0",
    "@SUM(A1)",
    "+1+cmd|' /C calc'!A0",
    "-2+3",
    " =1",
    '+ HYPERLINK("x")',
    "- a(b)",
]
LABELS = ["+ IoU bias", "Baseline, 1 step", "-", "+ D3PM labels, quality head", "a=b", "a@b", "Ours (20 -> 1)"]


@pytest.mark.parametrize("text", FORMULAS)
@pytest.mark.parametrize("key", ["label: Baseline, 1 step", "method: Baseline", "claim: distillation helps"])
def test_a_formula_in_a_suite_is_refused(sandbox: Sandbox, bundle: Path, key: str, text: str) -> None:
    name = key.split(":")[0]
    assert key.encode() in (bundle / "suite.yaml").read_bytes()
    new = f"{name}: {json.dumps(text)}"
    edit(bundle, "suite.yaml", lambda data: data.replace(key.encode(), new.encode(), 1))
    sandbox.tables(bundle, "is a formula to a spreadsheet")


@pytest.mark.parametrize("text", FORMULAS)
def test_a_formula_in_a_cell_is_refused(sandbox: Sandbox, bundle: Path, text: str) -> None:
    edit(bundle, "tables/summary.tsv", lambda data: data.replace(b"Baseline, 1 step", text.encode(), 1))
    sandbox.refuses("is a formula to a spreadsheet", "show", str(bundle))
    sandbox.tables(bundle, "tables/summary.tsv")


@pytest.mark.parametrize("text", LABELS)
def test_labels_that_are_none_stay(text: str) -> None:
    assert text_fault(text) is None


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen += [tag, *(name for name, _ in attrs if name.startswith("on"))]


@pytest.mark.parametrize(
    "text", ["<script>alert(1)</script>", "<img src=x onerror=alert(1)>", '"><svg onload=x>', "{{7*7}}"]
)
def test_markup_in_a_suite_is_text_in_the_page(bundle: Path, text: str) -> None:
    from c2o_evidence.report import render_readme, render_report
    from c2o_evidence.suite import load_resolved_suite
    from c2o_evidence.tables.text import summary_markdown

    path = bundle / "suite.yaml"
    lines = path.read_text().replace("title: Toy & friends", f"title: {json.dumps(text)}")
    lines = re.sub(r"description: .*", lambda _: f"description: {json.dumps(text)}", lines)
    path.write_text(lines)
    suite = load_resolved_suite(path)
    assert suite.title == text
    page = render_report(bundle, suite)
    tags = Tags()
    tags.feed(page)
    assert tags.seen.count("script") == 1 and not [name for name in tags.seen if name.startswith("on")]
    own = page.partition("<script>")[2].partition("</script>")[0].encode()
    digest = base64.b64encode(hashlib.sha256(own).digest()).decode()
    assert f"script-src 'sha256-{digest}';" in page and "default-src 'none'" in page and "unsafe" not in page
    assert "49" not in page.split("</style>")[1].split("</h1>")[0]
    for markdown in (render_readme(suite), summary_markdown(text, [], [], [])):
        assert not re.search(r"(?<!\\)<[a-z/]", markdown) and markdown_escape(text) in markdown


SVGS = {
    "a script": "<svg><script>alert(1)</script></svg>",
    "a handler": '<svg onload="alert(1)"></svg>',
    "a handler with a slash": '<svg><path/onclick="x"/></svg>',
    "a link": '<svg xmlns:x="http://www.w3.org/1999/xlink"><use x:href="data:text/html,x"/></svg>',
    "a style that loads": '<svg><style>@import "http://x"</style></svg>',
    "a fill that loads": '<svg><path style="fill:url(http://x)"/></svg>',
    "an escape in a style": "<svg><style>\\75rl(x)</style></svg>",
    "a foreign element": "<svg><foreignObject><b/></foreignObject></svg>",
    "a frame": '<svg><iframe srcdoc="x"/></svg>',
    "a comment that a browser ends earlier": "<svg><!--><img src=x onerror=alert(1)>--></svg>",
    "entities": '<!DOCTYPE svg [<!ENTITY a "aaaa">]><svg>&a;</svg>',
    "an unknown entity": "<svg>&a;</svg>",
    "something behind": "<svg></svg><img src=x onerror=alert(1)>",
    "brackets": "<svg>" + "<g>" * 100_000,
    "nothing": "",
}


@pytest.mark.parametrize("source", SVGS.values(), ids=SVGS.keys())
def test_a_figure_that_is_more_than_a_picture(sandbox: Sandbox, bundle: Path, source: str) -> None:
    edit(bundle, "figures/loss_curves.svg", lambda _: source.encode())
    sandbox.tables(bundle, "unsafe: figures/loss_curves.svg")
    assert source.startswith("<!DOCTYPE") or svg_fault(source) is not None


def test_what_the_package_draws_is_a_picture(bundle: Path) -> None:
    for path in [*bundle.glob("figures/*.svg"), *Path("manifests/reference").rglob("*.svg")]:
        assert inline_svg(path.read_bytes(), path.stem).startswith("<svg")


@pytest.mark.parametrize(
    "text", ["[red]x", "[/x]", "[link=http://x]y[/link]", "\x1b[2J", "\x9b31m", "a\u202eb", "x" * 5000]
)
def test_a_cell_on_the_terminal_is_only_printed(sandbox: Sandbox, bundle: Path, text: str) -> None:
    (bundle / "a.tsv").write_text(f"name\tother\n{text}\ty\n")
    outcome = sandbox.run("show", str(bundle / "a.tsv"))
    assert outcome.code == 0, outcome.text
    assert not set(outcome.text) & set("\x1b\x9b\u202e")
    assert len(text) > 1000 or text.startswith("\x1b") or printable(text)[:4] in outcome.text
    (bundle / "a.json").write_text(json.dumps({"a": text}, ensure_ascii=False))
    outcome = sandbox.run("show", str(bundle / "a.json"))
    assert outcome.code == 0 and not set(outcome.text) & set("\x1b\x9b\u202e"), outcome.text


@pytest.mark.parametrize("name", ["\x1b[2J\x1b[1;1Hverified", "a\u202eb", "x\u0085y"])
def test_a_file_name_on_the_terminal_is_only_printed(sandbox: Sandbox, bundle: Path, name: str) -> None:
    (bundle / name).write_text("x")
    for argv in (("verify", str(bundle)), ("verify", str(bundle), "--json")):
        outcome = sandbox.refuses("unsafe", *argv)
        assert not set(outcome.text) & set("\x1b\u202e\u0085")


@pytest.mark.parametrize(
    "label", ["$\\\\frac{", "$x^{2}$", "$\\\\input{/etc/passwd}$", "_{", "\\\\write18{touch executed}", "[1cm]", "*"]
)
def test_a_label_for_the_typesetters(sandbox: Sandbox, bundle: Path, label: str) -> None:
    """Mathtext in figures, commands in LaTeX: the tables differ from the suite then, and nothing breaks."""
    edit(bundle, "suite.yaml", lambda data: data.replace(b"label: Baseline, 1 step", f'label: "{label}"'.encode(), 1))
    sandbox.tables(bundle, "tables/summary.tex")


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


@given(TEXT)
def test_latex_has_no_command_but_ours(text: str) -> None:
    rest = re.sub(
        r"\\(?:text(?:backslash|asciitilde|asciicircum)\{\}|[&%$#_{}])|\$-\$|\$\\(?:pm|times)\$|\$[<>]\$",
        "",
        latex_escape(text),
    )
    assert not set(rest) & set("\\&%$#_{}~^")


@given(st.text(max_size=60))
def test_markdown_cells_have_no_bar_tag_or_link(text: str) -> None:
    escaped = markdown_escape(text)
    bare = re.sub(r"\\[\\|<\]]", "", escaped)
    assert "|" not in bare and not re.search(r"<[A-Za-z/!?]", bare) and "](" not in bare


@given(st.text(max_size=300))
def test_printed_text_moves_no_cursor(text: str) -> None:
    shown = printable(text)
    assert not any(ord(c) < 32 or 127 <= ord(c) < 160 or 0xD800 <= ord(c) < 0xE000 for c in shown)
    shown.encode("utf-8")
    assert len(printable("y" + text)) <= 6 * 2 * 200 + 40
    if text.isascii() and text.isprintable() and len(text) <= 200:
        assert shown == text


@given(st.text(max_size=30), st.text(max_size=30))
def test_a_report_is_ascii_json_and_reads_back(path: str, cell: str) -> None:
    report = Report("p", "files")
    report.add([Finding("changed", path, "m", found=cell)])
    assert report.to_json().isascii()
    assert json.loads(report.to_json())["findings"][0]["path"] == path
    assert "\n" not in str(report.findings[0])


def test_a_report_ends_somewhere() -> None:
    report = Report("p", "files")
    report.add(Finding("extra", str(number), "m") for number in range(20_000))
    assert len(report.findings) == 10_000 and report.notes == ["there are more findings than the 10000 listed"]


def test_sealing_a_bundle_with_a_formula_file_name(sandbox: Sandbox, bundle: Path) -> None:
    (bundle / "=cmd").write_text("x")
    seal(bundle)
    sandbox.tables(bundle, "extra: =cmd")
