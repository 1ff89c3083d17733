"""`summary.tex` and `main.tex`: there is no TeX to compile them with, so their structure is read as TeX reads it."""

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from c2o_evidence.tables.text import main_latex
from c2o_evidence.tsv import text_fault

RULES = ("\\toprule", "\\midrule", "\\bottomrule")
TOKEN = re.compile(r"\\\\|\\[A-Za-z]+|\\.|[{}&$^_~#%]|[^\\{}&$^_~#%]+|\n", re.DOTALL)
COMMANDS = {"\\textbackslash", "\\textasciitilde", "\\textasciicircum", "\\pm", "\\times", "\\dagger"}
LABELS = st.text(min_size=1, max_size=30).filter(lambda text: text_fault(text) is None and text.strip() != "")


def cells_of(text: str) -> list[list[str]]:
    """The rows of a `tabular` of booktabs, split as TeX splits them.

    Fails on what TeX would stop at: a command that is not known, braces or `$` that do not pair, a bare special letter,
    a row with too many cells, a rule in a wrong place.
    """
    first, *lines, last = text.splitlines()
    columns = re.fullmatch(r"\\begin\{tabular\}\{([lr]+)\}", first)
    assert columns and last == r"\end{tabular}" and text.endswith("\n")
    assert [line for line in lines if line.startswith(RULES)] == list(RULES)
    assert lines[0] == RULES[0] and lines[2] == RULES[1]
    rows = []
    for line in [line for line in lines if line not in RULES]:
        foot = re.fullmatch(r"\\multicolumn\{(\d+)\}\{l\}\{\\footnotesize (.*)\} \\\\", line, re.DOTALL)
        if foot:
            assert int(foot[1]) == len(columns[1])
            rows.append(split(foot[2] + r" \\"))
            assert len(rows.pop()) == 1
            continue
        rows.append(split(line))
        assert len(rows[-1]) == len(columns[1]), line
    return rows


def split(line: str) -> list[str]:
    cells, depth, maths, ended = [""], 0, False, False
    for token in TOKEN.findall(line):
        assert not ended
        if token == "\\\\":
            ended = True
        elif token == "&":
            assert depth == 0 and not maths
            cells.append("")
        else:
            depth += (token == "{") - (token == "}")
            assert depth >= 0
            maths ^= token == "$"
            assert token not in ("#", "%", "_", "~") and (token != "^" or maths)
            assert not re.fullmatch(r"\\[A-Za-z]+", token) or token in COMMANDS
            cells[-1] += token
    assert ended and depth == 0 and not maths
    return [cell.strip() for cell in cells]


@pytest.mark.parametrize("name", ["summary", "main"])
def test_the_files_of_a_bundle_are_whole_tables(built: Path, name: str) -> None:
    rows = cells_of((built / f"results/toy/tables/{name}.tex").read_text())
    assert len(rows) == (4 if name == "summary" else 3)
    assert rows[0][0] == ("setting" if name == "summary" else "method")
    assert ("95 \\% interval" in rows[0]) == (name == "summary")


@settings(max_examples=60, deadline=None)
@given(LABELS, LABELS, st.one_of(st.none(), LABELS))
def test_no_label_breaks_a_table(method: str, kind: str, selected: str | None) -> None:
    row = {"method": method, "type": kind, "backbone": "R50", "epochs": "12", "notes": None, "mean_AP": 1.0}
    row |= {"std_AP_pop": float("nan"), "inference_fps": float("nan"), "selected": selected}
    row |= {f"mean_{name}": 2.0 for name in ("AP50", "AP75", "APs", "APm", "APl")}
    header, cells = cells_of(main_latex([row]))
    assert len(header) == 12 and cells[5] == r"1.00 $\pm$ --" and cells[-1] == "--"


def test_what_would_be_an_option_of_the_line_above_is_none() -> None:
    r"""`\\` takes what is in brackets, and a star, behind it for its own."""
    row = {"method": "[b] *", "type": "", "backbone": "", "epochs": "", "notes": "", "mean_AP": 1.0, "std_AP_pop": 0.0}
    row |= {f"mean_{name}": 2.0 for name in ("AP50", "AP75", "APs", "APm", "APl")} | {"inference_fps": 1.0}
    assert "\n{}[b] *" in main_latex([row])
