"""Large JSON read a record at a time: the same values as json.loads for any cut into pieces, and its faults."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from c2o_evidence.datasets import json_stream
from c2o_evidence.datasets.json_stream import VALUE, JsonStream
from c2o_evidence.errors import DataSetError

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)
)
DOCUMENTS = st.dictionaries(st.text(), VALUES | st.lists(VALUES, max_size=5), max_size=4)


def collected(path: Path) -> tuple[dict[str, Any], JsonStream]:
    stream, found = JsonStream(path), {}
    for key, number, item in stream.events():
        if number == VALUE:
            found[key] = item
        else:
            assert number == len(found[key])
            found[key].append(item)
    return found, stream


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(DOCUMENTS, st.integers(1, 9), st.booleans(), st.sampled_from([None, 1]))
def test_as_json_loads_for_any_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, document: Any, chunk: int, ascii_only: bool, indent: int | None
) -> None:
    monkeypatch.setattr(json_stream, "CHUNK", chunk)
    # A lone surrogate has no UTF-8; escaped it is JSON all the same.
    data = json.dumps(document, ensure_ascii=ascii_only, indent=indent).encode("utf-8", "replace")
    path = tmp_path / "a.json"
    path.write_bytes(data)
    found, stream = collected(path)
    assert found == json.loads(data)
    assert (stream.size, stream.sha256) == (len(data), hashlib.sha256(data).hexdigest())


@pytest.mark.parametrize("number", ["0.0", "-1.5e-7", "12E+3", "7"])
def test_a_number_cut_anywhere(number: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.json"
    path.write_text(f'{{"a": [{number}], "b": {number}}}')
    for chunk in range(1, 24):
        monkeypatch.setattr(json_stream, "CHUNK", chunk)
        assert collected(path)[0] == {"a": [float(number)], "b": float(number)}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the begin is no JSON object"),
        (b"[1]", "the begin is no JSON object"),
        (b'{"a": [1, 2', r"a\[1\]: is not JSON, corrupt or truncated"),
        (b'{"a": [1 2]}', r"a\[0\]: is not JSON, corrupt or truncated"),
        (b'{"a": [{"b": }]}', r"a\[0\]: is not JSON, corrupt or truncated \(Expecting value"),
        (b'{"a": [], "a": []}', "gives 'a' twice"),
        (b'{"a": 1} x', "has more after its JSON"),
        (b'{"a": [NaN]}', r"a\[0\]: is not JSON, corrupt or truncated \(NaN is no JSON number\)"),
        (b'{"a": ["\xff"]}', "is not UTF-8 text"),
        (b"{1: []}", "a key is no text"),
        (b'{"a" []}', "a: is not JSON, corrupt or truncated"),
        (b'{"a": [' + b"9" * 5000 + b"]}", r"a\[0\]: is not JSON, corrupt or truncated \(Exceeds the limit"),
        (b'{"a": [' + b"[" * 100_000, r"a\[0\]: is nested too deeply"),
    ],
)
def test_faults_name_the_file_and_the_place(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(data)
    with pytest.raises(DataSetError, match=message) as caught:
        collected(path)
    assert str(caught.value).startswith(f"{path}: ") and str(caught.value).endswith("; copy it again from its source")


def test_a_record_over_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_stream, "MAX_SET_RECORD", 100)
    monkeypatch.setattr(json_stream, "CHUNK", 16)
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"a": ["x" * 90, "y" * 500]}))
    with pytest.raises(DataSetError, match=r"a\[1\]: is not JSON, corrupt or truncated \(Unterminated string"):
        collected(path)


def test_what_is_no_plain_file_or_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataSetError, match="cannot be read .is not a plain file"):
        collected(tmp_path)
    path = tmp_path / "a.json"
    with path.open("wb") as stream:
        stream.truncate(2 << 30)  # a hole
    with pytest.raises(DataSetError, match="is a sparse file: it declares 2147483648 bytes and holds 0"):
        collected(path)
    path.write_text("{}" + " " * 20)
    assert collected(path)[0] == {}
    with pytest.raises(DataSetError, match="has 22 bytes, more than the limit of 8 "):
        json_stream.open_set_file(path, 8)
