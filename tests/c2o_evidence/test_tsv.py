"""The TSV codec: one spelling for every value, strict reading, messages that go to the cell."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from c2o_evidence.errors import EvidenceError, TableError
from c2o_evidence.schemas import SCHEMA_DIR, load_schema
from c2o_evidence.tsv import Column, format_tsv, parse_tsv, read_tsv, tsv_schema, write_tsv

SHA = "0123456789abcdef" * 4
TABLES = sorted(
    path.name.removesuffix(".schema.json")
    for path in SCHEMA_DIR.glob("*.schema.json")
    if "x-key" in json.loads(path.read_text(encoding="utf-8"))
)


def run(**changes):
    row = {
        "exp_name": "student_1",
        "ckpt_path": "train/student/seed0/model.safetensors",
        "ckpt_sha256": SHA,
        "config_sha256": SHA,
        "dataset_sha256": SHA,
        "code_sha256": SHA,
        "train_seed": 0,
        "eval_seed": 0,
        "sample_step": 1,
        "AP": 48.123456789012345,
        "AP50": 70.0,
        "AP75": 0.1 + 0.2,
        "APs": math.nan,
        "APm": 0.0,
        "APl": 100.0,
        "AP-car": 1e-05,
        "AP-big dog": 2,
    }
    return row | changes


def test_results_have_the_promised_columns():
    digests = ["ckpt_sha256", "config_sha256", "dataset_sha256", "code_sha256"]
    identity = ["exp_name", "ckpt_path", *digests, "train_seed", "eval_seed", "sample_step"]
    metrics = ["AP", "AP50", "AP75", "APs", "APm", "APl"]
    assert list(tsv_schema("results").names) == [*identity, *metrics]


def test_there_is_a_schema_for_every_table():
    tables = {"results", "timing", "attention", "summary", "main", "comparisons", "curve"}
    tables |= {"per_class", "variance", "precision_recall", "confusion", "errors", "parity"}
    assert set(TABLES) == tables | {"manifest", "results_manifest", "deliverables"}


@pytest.mark.parametrize("name", TABLES)
def test_schemas_are_sound(name):
    import jsonschema

    document = load_schema(name)
    jsonschema.Draft202012Validator.check_schema(document)
    schema = tsv_schema(name)
    assert set(schema.key) <= set(schema.names) and set(schema.sort) <= set(schema.names)
    assert document["required"] == list(schema.names) and document["additionalProperties"] is False
    assert all(column.description for column in schema.columns)


def test_exact_bytes(tmp_path):
    path = tmp_path / "t.tsv"
    write_tsv(path, [run(eval_seed=1), run()], "results")
    text = path.read_bytes().decode()
    lines = text.split("\n")
    assert lines[0].split("\t")[-3:] == ["APl", "AP-car", "AP-big dog"]
    cells = "0 0 1 48.123456789012344 70.0 0.30000000000000004 nan 0.0 100.0 1e-05 2.0"
    assert " ".join(lines[1].split("\t")[6:]) == cells
    assert lines[2].split("\t")[7] == "1", "rows are sorted by exp_name, train_seed, eval_seed"
    assert lines[3:] == [""]


@given(
    values=st.lists(st.floats(0, 100) | st.just(math.nan), min_size=1, max_size=6),
    seeds=st.permutations(range(6)),
)
def test_round_trip_is_exact_and_the_order_of_rows_does_not_count(values, seeds):
    rows = [run(eval_seed=seed, AP=value) for seed, value in zip(seeds, values, strict=False)]
    text = format_tsv(rows, "results")
    assert format_tsv(rows[::-1], "results") == text
    back = parse_tsv(text, "results")
    assert format_tsv(back, "results") == text
    by_seed = {row["eval_seed"]: row["AP"] for row in back}
    for row in rows:
        got, put = by_seed[row["eval_seed"]], row["AP"]
        assert (got == put and math.copysign(1, got) == math.copysign(1, put)) or (got != got and put != put)


@given(st.text(alphabet="ab\t\n\r\x0b\x85\u2028é \"'", min_size=1, max_size=6))
def test_text_cells_survive_or_are_refused(text):
    row = {
        "name": "a",
        "revision": 1,
        "state": "current",
        "root_sha256": SHA,
        "files": 1,
        "bytes": 0,
        "notes": text,
    }
    try:
        written = format_tsv([row], "deliverables")
    except TableError as error:
        assert "has a tab, a line break or another control character" in str(error)
        assert set(text) & set("\t\n\r\x0b\x85\u2028")
    else:
        assert parse_tsv(written, "deliverables") == [row]


def test_numpy_numbers_are_written_as_their_values():
    import numpy as np

    row = run(AP=np.float64(48.123456789012345), eval_seed=np.int64(0), APm=np.float32(0.5))
    assert format_tsv([row], "results") == format_tsv([run(APm=0.5)], "results")


def test_absent_values_only_where_they_may_be():
    row = {
        "name": "a",
        "revision": 1,
        "state": "current",
        "root_sha256": SHA,
        "files": 1,
        "bytes": 0,
        "notes": None,
    }
    text = format_tsv([row], "deliverables")
    assert text.endswith("\t0\t\n")
    assert parse_tsv(text, "deliverables")[0]["notes"] is None
    with pytest.raises(TableError, match=r"x: row 1: AP: None is empty; a value is needed"):
        format_tsv([run(AP=None)], "results", "x")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"AP": 101.0}, "row 1: AP: 101.0 is above 100"),
        ({"AP": -1.0}, "row 1: AP: -1.0 is below 0"),
        ({"AP": math.inf}, "row 1: AP: inf is infinite; undefined values are nan"),
        ({"AP": "48"}, "row 1: AP: '48' is not a number"),
        ({"eval_seed": 1.0}, "row 1: eval_seed: 1.0 is not a whole number"),
        ({"eval_seed": True}, "row 1: eval_seed: True is not a whole number"),
        ({"ckpt_sha256": SHA.upper()}, "is not a SHA-256 of 64 lowercase hexadecimal digits"),
        ({"ckpt_path": "/tmp/m"}, "row 1: ckpt_path: '/tmp/m' is not a usable path: the path is absolute"),
        ({"ckpt_path": "../m"}, "the path climbs out of its directory"),
        ({"exp_name": "a b"}, "row 1: exp_name: 'a b' does not match"),
        ({"exp_name": 3}, "row 1: exp_name: 3 is not text"),
        ({"APx": 3.0}, "header: 'APx' unknown column; did you mean 'AP"),
    ],
)
def test_values_that_cannot_be_written(changes, message, tmp_path):
    with pytest.raises(TableError) as caught:
        write_tsv(tmp_path / "t.tsv", [run(**changes)], "results")
    assert message in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_rows_must_have_the_same_columns_and_different_keys():
    short = run()
    del short["AP-car"]
    with pytest.raises(TableError, match="row 2: AP-car: is missing; give a value"):
        format_tsv([run(), short], "results")
    with pytest.raises(TableError, match="row 2: AP-new: unknown column"):
        format_tsv([run(), run(eval_seed=1, **{"AP-new": 1.0})], "results")
    with pytest.raises(TableError, match="row 2: exp_name=student_1, train_seed=0, eval_seed=0 is already in row 1"):
        format_tsv([run(), run(AP=1.0)], "results")


def test_faults_of_a_file_name_line_and_column(tmp_path):
    path = tmp_path / "t.tsv"
    good = format_tsv([run(), run(eval_seed=1)], "results")
    lines = good.split("\n")
    cases = [
        (
            good.replace("\t70.0\t", "\t70\t", 1),
            ":2: AP50: '70' is not spelled as it is written by C2O (70.0)",
        ),
        (good.replace("\t70.0\t", "\t\t", 1), ":2: AP50: '' is empty; a value is needed"),
        (good.replace("\t70.0\t", "\tx\t", 1), ":2: AP50: 'x' is not a number"),
        (good.replace("\t70.0\t", "\t170.0\t", 1), ":2: AP50: '170.0' is above 100"),
        (good.replace("\t0\t1\t1\t", "\t0\t01\t1\t"), ":3: eval_seed: '01' is not a whole number"),
        (
            good.replace("\tnan\t", "\tNaN\t", 1),
            ":2: APs: 'NaN' is not spelled as it is written by C2O (nan)",
        ),
        (
            good.replace("\t0\t1\t1\t", "\t0\t0\t1\t"),
            ":3: exp_name=student_1, train_seed=0, eval_seed=0 is already in line 2",
        ),
        (
            "\n".join([lines[0], lines[2], lines[1], ""]),
            ":3: is out of order by exp_name, train_seed, eval_seed",
        ),
        ("\n".join([lines[0], lines[1] + "\t1.0", ""]), ":2: has 18 cells, the header 17"),
        ("\n".join([lines[0], lines[1], "", ""]), ":3: has 1 cells, the header 17"),
        (good[:-1], ": does not end with a line break; the file is cut off or was edited"),
        (good.replace("\n", "\r\n"), ":1: has a CR; lines end with LF alone"),
        (
            good.replace("AP50", "AP5O", 1),
            ": header: column 11 is 'AP5O' instead of 'AP50'; restore the header",
        ),
        (good.replace("AP-car", "APcar", 1), ": header: 'APcar' unknown column; known: AP, "),
        (good.replace("AP-big dog", "AP-car", 1), ": header: 'AP-car' is there twice"),
        ("", ": does not end with a line break"),
        ("exp_name\n", ": header: column 2 is nothing instead of 'ckpt_path'"),
    ]
    for text, message in cases:
        path.write_bytes(text.encode())
        with pytest.raises(TableError) as caught:
            read_tsv(path, "results")
        assert str(caught.value).startswith(f"{path}{message}"), str(caught.value)
    path.write_bytes(b"\xff")
    with pytest.raises(TableError, match="is not UTF-8 text"):
        read_tsv(path, "results")
    with pytest.raises(TableError, match="gone.tsv: cannot be read: No such file"):
        read_tsv(tmp_path / "gone.tsv", "results")


def test_a_verifier_may_read_rows_out_of_order():
    good = format_tsv([run(), run(eval_seed=1)], "results")
    lines = good.split("\n")
    swapped = "\n".join([lines[0], lines[2], lines[1], lines[1], ""])
    assert [row["eval_seed"] for row in parse_tsv(swapped, "results", strict=False)] == [1, 0, 0]


def test_a_table_without_rows():
    text = format_tsv([], "curve")
    assert text == "iteration\tlr\tloss\n"
    assert parse_tsv(text, "curve") == []


def test_columns_with_choices_and_ranges():
    assert Column("c", "str", choices=("a", "b")).parse("a") == "a"
    with pytest.raises(ValueError, match="is not one of a, b"):
        Column("c", "str", choices=("a", "b")).parse("c")
    with pytest.raises(ValueError, match="is not above 0"):
        Column("c", "float", exclusive_minimum=0).parse("0.0")


def test_an_unknown_schema_is_said():
    with pytest.raises(EvidenceError, match=r"workflow/schemas/reslts.schema.json: does not exist \(known: .*results"):
        tsv_schema("reslts")
