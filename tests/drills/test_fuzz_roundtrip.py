"""What is written is read back as the same value, and what is read is written as the same bytes."""

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

from c2o_evidence.checkpoint_header import read_metadata
from c2o_evidence.detections import Detections, read_detections, write_detections
from c2o_evidence.digests import canonical_json, check_sidecar, read_sidecar, write_sidecar
from c2o_evidence.errors import TableError
from c2o_evidence.json_file import parse_json
from c2o_evidence.ledger import ledger_text, read_rows, with_freeze
from c2o_evidence.suite import load_resolved_suite
from c2o_evidence.sums import format_sums, parse_sums
from c2o_evidence.tsv import Column, format_tsv, parse_tsv, tsv_schema
from c2o_evidence.yaml_file import dump_yaml, parse_yaml
from tests.drills.parsers import TABLES
from tests.drills.sandbox import RECORD, honest

DIGEST = st.text("0123456789abcdef", min_size=64, max_size=64)
NAME = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,12}", fullmatch=True)
PLAIN = st.text(st.characters(exclude_categories=["Cs", "Cc", "Cf", "Zl", "Zp"]), min_size=1, max_size=20)
FINITE = st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 62), 1 << 62) | FINITE | PLAIN,
    lambda below: st.lists(below, max_size=4) | st.dictionaries(PLAIN, below, max_size=4),
    max_leaves=12,
)


def same(first: Any, second: Any) -> bool:
    """Equal, and for floats the same bits: nan is nan, and -0.0 is not 0.0."""
    if not isinstance(first, float):
        return bool(first == second)
    return repr(first) == repr(second)


def cells(column: Column) -> st.SearchStrategy[Any]:
    low, high = column.minimum, column.maximum
    found: dict[str, st.SearchStrategy[Any]] = {
        "int": st.integers(int(low or 0), int(high or 10**6)),
        "float": st.floats(low, high, allow_infinity=False, allow_nan=low is None and high is None),
        "sha256": DIGEST,
        "path": st.lists(NAME, min_size=1, max_size=3).map("/".join),
        "str": st.sampled_from(column.choices) if column.choices else NAME,
    }
    kind = found[column.kind]
    if column.pattern and "[0-9a-f]{" in column.pattern:
        kind = DIGEST.map(lambda text: text[:12] if "{12}" in str(column.pattern) else text)
    if column.exclusive_minimum is not None:
        kind = st.floats(1e-6, 1e6)
    return st.none() | kind if column.nullable else kind


@pytest.mark.parametrize("name", [*TABLES, "deliverables", "results_manifest"])
@settings(max_examples=25)
@given(data=st.data())
def test_tables(name: str, data: st.DataObject) -> None:
    schema = tsv_schema(name)
    rows = data.draw(st.lists(st.fixed_dictionaries({c.name: cells(c) for c in schema.columns}), max_size=4))
    keys = [tuple(row[key] for key in schema.key) for row in rows]
    assume(len(set(keys)) == len(keys))
    text = format_tsv(rows, schema)
    read = parse_tsv(text, schema)
    assert format_tsv(read, schema) == text
    wanted = sorted(rows, key=lambda row: tuple(row[key] for key in schema.sort)) if schema.sort else rows
    for first, second in zip(wanted, read, strict=True):
        for key, value in first.items():
            assert same(value, second[key])


@pytest.mark.parametrize("name", TABLES)
def test_tables_of_a_bundle_are_canonical(name: str) -> None:
    text = (honest() / TABLES[name]).read_text()
    assert format_tsv(parse_tsv(text, name), name) == text


@given(st.dictionaries(st.lists(NAME, min_size=1, max_size=3).map("/".join), DIGEST, max_size=8))
def test_sums(digests: dict[str, str]) -> None:
    folded = {path.casefold() for path in digests}
    assume(len(folded) == len(digests) and "SHA256SUMS" not in digests)
    text = format_sums(digests)
    assert parse_sums(text.encode()) == (digests, [])
    assert format_sums(parse_sums(text.encode())[0]) == text


@settings(max_examples=30)
@given(st.binary(max_size=50), NAME)
def test_sidecars(data: bytes, name: str) -> None:
    with tempfile.TemporaryDirectory() as place:
        path = Path(place, name)
        path.write_bytes(data)
        sidecar = write_sidecar(path)
        assert check_sidecar(path) == read_sidecar(path)
        before = sidecar.read_bytes()
        assert write_sidecar(path).read_bytes() == before


@given(JSON)
def test_json(value: Any) -> None:
    text = canonical_json(value)
    assert parse_json(text) == json.loads(text)
    assert canonical_json(parse_json(text)) == text


@settings(max_examples=60)
@given(st.dictionaries(PLAIN, JSON, max_size=4))
@example({"0": "0E0", "-1e5": ["1.e+3", 1e-5]})  # numbers to YAML 1.2, text to YAML 1.1
def test_yaml_is_what_json_holds(value: dict[str, Any]) -> None:
    """Any JSON mapping without special keys comes back from our text of it, which PyYAML reads alike."""
    assume("<<" not in json.dumps(value) and '"="' not in json.dumps(value))
    text = dump_yaml(value)
    assert parse_yaml(text, "x") == value == yaml.safe_load(text)


def test_a_resolved_suite_is_canonical() -> None:
    text = (honest() / "suite.yaml").read_text()
    assert load_resolved_suite(honest() / "suite.yaml").to_yaml() == text


@settings(max_examples=30)
@given(st.integers(0, 5), st.integers(0, 2**32 - 1), st.dictionaries(NAME, PLAIN, max_size=3))
def test_detections(count: int, seed: int, metadata: dict[str, str]) -> None:
    rng = np.random.default_rng(seed)
    box = np.sort(rng.normal(size=(count, 2, 2)).astype(np.float32), axis=1).reshape(-1, 4)
    arrays = {
        "image_id": rng.integers(0, 9, count),
        "box": box,
        "score": rng.random(count),
        "label": rng.integers(0, 3, count),
    }
    runs = {("row", 0): Detections.from_arrays(arrays), ("other", 7): Detections.from_arrays(arrays)}
    with tempfile.TemporaryDirectory() as place:
        path, again = Path(place, "a"), Path(place, "b")
        write_detections(path, runs, metadata)
        read = read_detections(path)
        assert read == dict(sorted(runs.items()))
        write_detections(again, read, metadata)
        assert again.read_bytes() == path.read_bytes()
        assert len(read_detections(path, count)) == 2


@settings(max_examples=30)
@given(
    st.dictionaries(NAME, PLAIN, max_size=3), st.dictionaries(NAME, st.lists(st.integers(0, 3), max_size=3), max_size=3)
)
def test_checkpoint_headers_as_the_library_writes_them(metadata: dict[str, str], shapes: dict[str, list[int]]) -> None:
    kinds = (np.float32, np.float16, np.int64, np.uint8, np.bool_)
    assume(shapes)  # of no tensors, with metadata, the library (0.5) writes a header that is no JSON
    tensors = {name: np.zeros(shape, kinds[len(name) % 5]) for name, shape in shapes.items()}
    with tempfile.TemporaryDirectory() as place:
        path = Path(place, "model.safetensors")
        path.write_bytes(save(tensors, metadata=metadata))
        assert read_metadata(path) == metadata


@settings(max_examples=30)
@given(st.lists(st.tuples(st.sampled_from("ab"), DIGEST), max_size=6))
def test_ledgers(freezes: list[tuple[str, str]]) -> None:
    rows: list[dict[str, Any]] = []
    for name, digest in freezes:
        rows = with_freeze(rows, name, digest, 1, 2, supersede=True)
    with tempfile.TemporaryDirectory() as place:
        path = Path(place, "deliverables.tsv")
        path.write_text(ledger_text(rows))
        assert ledger_text(read_rows(path)) == path.read_text()


def test_records_say_what_their_json_says() -> None:
    from c2o_evidence.records import read_record

    record, document = read_record(honest() / RECORD), json.loads((honest() / RECORD).read_text())
    assert [vars(entry) for entry in record.products] == document["products"]
    assert record.parameters == document["parameters"] and record.started == document["started"]


def test_a_table_with_a_control_character_in_its_header_is_refused() -> None:
    text = (honest() / TABLES["results"]).read_text().replace("AP-cat", "AP-c\x1b[31mat", 1)
    with pytest.raises(TableError, match="unknown column"):
        parse_tsv(text, "results")
