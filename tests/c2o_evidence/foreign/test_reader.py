"""What is not plainly a table of runs is refused with file, line and column; text stays text."""

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from c2o_evidence.errors import TableError
from c2o_evidence.foreign import read_foreign
from c2o_evidence.foreign import reader as module

HEADER = "exp_name\ttrain_seed\teval_seed\tAP\tnote\n"
ROW = "a\t0\t1\t47.5\tx\n"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "t.tsv: is empty; name a file with runs"),
        (HEADER.encode(), "t.tsv: has a header and no rows"),
        (b"\xef\xbb\xbf" + (HEADER + ROW).encode(), "t.tsv:1: is UTF-8 with a byte order mark; save it as UTF-8"),
        ((HEADER + ROW).encode("utf-16"), "t.tsv:1: is UTF-16; save it"),
        ((HEADER + ROW.replace("\n", "\r\n")).encode(), r"t.tsv:2: has a CR; lines end with LF alone: convert"),
        ((HEADER + ROW).encode()[:-1], "t.tsv:2: ends without a line break; it may be cut off"),
        (HEADER.encode() + b"a\t0\t1\t47.5\t\xe9t\xe9\n", r"t.tsv:2: is not UTF-8 \(byte 12 of the line\)"),
        ((HEADER + "a\t0\t1\t47.5\n").encode(), "t.tsv:2: has 4 cells, the header has 5; restore the line"),
        ((HEADER + ROW + "\n").encode(), "t.tsv:3: has 1 cells, the header has 5"),
        (HEADER.replace("note", "AP").encode(), "t.tsv:1: 'AP' names columns 4 and 5; every column has its own name"),
        (HEADER.replace("note", " ").encode(), "t.tsv:1: column 5 has no name"),
        (HEADER.replace("note", "n\u202eote").encode(), r"t.tsv:1: column 5: 'n\\u202eote' has a control or hidden"),
        (HEADER.replace("AP", "ap").encode(), "t.tsv:1: there is no column 'AP'; "),
        (b"exp_name\tseed\tAP\nq\t0\t1\n", "t.tsv:1: there is no column 'train_seed' or 'eval_seed'; known: exp"),
        ((HEADER + ROW.replace("47.5", "4 7")).encode(), "t.tsv:2: AP: '4 7' is not a number; correct the cell"),
        ((HEADER + ROW.replace("47.5", "4_7")).encode(), "t.tsv:2: AP: '4_7' is not a number"),
        ((HEADER + ROW.replace("47.5", "inf")).encode(), "t.tsv:2: AP: 'inf' is not a number"),
        ((HEADER + ROW.replace("47.5", "1e999")).encode(), "t.tsv:2: AP: '1e999' is not a number"),
        ((HEADER + ROW.replace("47.5", "NaN")).encode(), "t.tsv:2: AP: 'NaN' is no number: an undefined run"),
        ((HEADER + ROW.replace("47.5", "")).encode(), "t.tsv:2: AP: '' is no number"),
        ((HEADER + ROW.replace("\t0\t", "\t0.0\t")).encode(), "t.tsv:2: train_seed: '0.0' is not a whole number of 0"),
        ((HEADER + ROW.replace("\t1\t", "\t-1\t")).encode(), "t.tsv:2: eval_seed: '-1' is not a whole number"),
        ((HEADER + ROW.replace("a\t", "\t", 1)).encode(), "t.tsv:2: exp_name: '' is empty; name the experiment"),
        ((HEADER + ROW.replace("x", "\x1b[31m")).encode(), r"t.tsv:2: note: '\\x1b\[31m' has a control or hidden"),
        ((HEADER.replace("note", "ckpt_sha256") + ROW).encode(), "t.tsv:2: ckpt_sha256: 'x' is not a SHA-256 of 64"),
        ((HEADER.replace("note", "sample_step") + ROW.replace("x", "0")).encode(), "sample_step: '0' is not a whole"),
    ],
)  # fmt: skip
def test_what_is_refused(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "t.tsv"
    path.write_bytes(data)
    with pytest.raises(TableError, match=message):
        read_foreign([path])


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="nothing.tsv: cannot be read: No such file or directory; correct the path"):
        read_foreign([tmp_path / "nothing.tsv"])
    with pytest.raises(TableError, match="cannot be read: is not a plain file"):
        read_foreign([tmp_path])
    path = tmp_path / "t.tsv"
    path.write_text(HEADER + ROW)
    with pytest.raises(TableError, match=r"is named twice \(as .*t.tsv before\)"):
        read_foreign([path, tmp_path / "x" / ".." / "t.tsv"])


def test_memory_is_bounded_by_line_and_by_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "t.tsv"
    path.write_text(HEADER + "x" * (module.MAX_FOREIGN_LINE + 1) + ROW)
    with pytest.raises(TableError, match="t.tsv:2: is longer than the limit of 1048576 bytes"):
        read_foreign([path])
    monkeypatch.setattr(module, "MAX_FOREIGN_RUNS", 2)
    path.write_text(HEADER + ROW * 3)
    with pytest.raises(TableError, match="t.tsv:4: more than the limit of 2 runs in all"):
        read_foreign([path])


def test_further_columns_are_kept_and_formulas_are_text(tmp_path: Path) -> None:
    path = tmp_path / "t.tsv"
    path.write_text(HEADER + "=cmd()\t0\t1\t47.5\t@x\n=cmd()\t0\t2\t48\t@x\nb\t0\t1\t+4.e1\ty\nb\t0\t2\t.5e2\tz\n")
    found = read_foreign([path])
    assert [(run.exp_name, run.values["AP"], run.line) for run in found.runs] == [
        ("=cmd()", 47.5, 2), ("=cmd()", 48.0, 3), ("b", 40.0, 4), ("b", 50.0, 5),
    ]  # fmt: skip
    assert found.extra == {("=cmd()", None): {"note": "@x"}, ("b", None): {"note": None}}


def test_without_exp_name_the_file_names_the_runs(tmp_path: Path) -> None:
    path = tmp_path / "student.tsv"
    path.write_text("eval_seed\tAP\n3\t47\n")
    (run,) = read_foreign([path]).runs
    assert (run.exp_name, run.train_seed, run.eval_seed, run.sample_step) == ("student", None, 3, None)


def test_csv_by_its_name_with_quotes_over_lines(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text('exp_name,train_seed,AP\n"a, ""b""",0,47\nc,1,x\n')
    with pytest.raises(TableError, match="t.csv:3: AP: 'x' is not a number"):
        read_foreign([path])
    path.write_text('exp_name,train_seed,AP\n"a, ""b""",0,47\n')
    assert read_foreign([path]).runs[0].exp_name == 'a, "b"'
    for text, message in (
        ('"a\nb",0,47\n', "exp_name: .* has a control or hidden"),
        ('"a"b,0,47\n', "t.csv:2: is not CSV: "),
    ):
        path.write_text("exp_name,train_seed,AP\n" + text)
        with pytest.raises(TableError, match=message):
            read_foreign([path])


@given(st.binary(max_size=200))
def test_no_bytes_give_a_traceback(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    folder = tmp_path_factory.getbasetemp()
    for name in ("fuzz.tsv", "fuzz.csv"):
        (folder / name).write_bytes(b"exp_name\ttrain_seed\tAP\n" + data if len(data) % 2 else data)
        try:
            runs = read_foreign([folder / name]).runs
        except TableError:
            continue
        assert all(math.isfinite(run.values["AP"]) for run in runs)
