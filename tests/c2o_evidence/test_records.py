"""Records: what they hold, and that nothing malformed is written or read."""

import hashlib
import json
import re

import pytest

from c2o_evidence.errors import DigestError, RecordError
from c2o_evidence.records import read_record, utc_now, write_record

SHA = "ab" * 32


@pytest.fixture
def job(tmp_path):
    suite = tmp_path / "results/toy"
    (suite / "train").mkdir(parents=True)
    (tmp_path / "data").mkdir()
    (suite / "train/model.bin").write_bytes(b"weights")
    (tmp_path / "data/train.json").write_bytes(b"{}")
    return {
        "path": suite / "train/record.json",
        "rule": "train",
        "inputs": {"data": tmp_path / "data/train.json"},
        "outputs": {"model": suite / "train/model.bin"},
        "parameters": {"seed": 3, "recipe": SHA},
        "lock_sha256": SHA,
        "code_sha256": SHA,
        "started": utc_now(),
        "suite_dir": suite,
        "root": tmp_path,
    }


def test_round_trip(job):
    written = write_record(**job, nondeterminism=["atomicAdd"])
    record = read_record(job["path"])
    assert record == written
    model = record.product("model")
    assert (model.base, model.path, model.bytes) == ("suite", "train/model.bin", 7)
    assert model.sha256 == hashlib.sha256(b"weights").hexdigest()
    data = record.material("data")
    assert (data.base, data.path) == ("repository", "data/train.json")
    assert record.parameters == {"seed": 3, "recipe": SHA}
    assert record.nondeterminism == ("atomicAdd",)
    assert record.started <= record.ended and re.fullmatch(r"\d{4}(-\d\d){2}T(\d\d:){2}\d\dZ", record.ended)
    assert record.tools["numpy"] and record.host["hardware_id"] == record.host["hardware"]["id"]
    with pytest.raises(RecordError, match="record of train: no file is named 'modl'; known: model"):
        record.product("modl")


def test_no_absolute_path_is_written(job, tmp_path):
    write_record(**job)
    assert str(tmp_path) not in job["path"].read_text()


def test_what_cannot_be_recorded(job, tmp_path):
    outside = tmp_path.parent / "outside.bin"
    outside.write_bytes(b"")
    cases = [
        ({"inputs": {"x": outside}}, RecordError, "x: .* is outside the repository"),
        (
            {"inputs": {"x": tmp_path / "data"}},
            RecordError,
            "is a directory; record the manifest of its files instead",
        ),
        ({"inputs": {"x": tmp_path / "gone"}}, DigestError, "gone: cannot be read: No such file"),
        ({"parameters": {"x": tmp_path}}, RecordError, "parameters: cannot be written as JSON"),
        ({"parameters": {"x": float("nan")}}, RecordError, "parameters: cannot be written as JSON"),
        ({"code_sha256": "abc"}, RecordError, "record.json: code_sha256: 'abc' is not a SHA-256"),
        ({"started": "today"}, RecordError, "record.json: started: 'today' is not a UTC time of the form"),
        ({"rule": ""}, RecordError, "record.json: rule: is empty; write a value"),
    ]
    for change, kind, message in cases:
        with pytest.raises(kind, match=message):
            write_record(**{**job, **change})
    assert not job["path"].exists()


def test_what_cannot_be_read(job, tmp_path):
    write_record(**job)
    path = job["path"]
    good = json.loads(path.read_text())
    product = good["products"][0]
    cases = [
        (
            {"schema": "c2o-record/2"},
            "schema: 'c2o-record/2' is unknown to this release, which reads 'c2o-record/1'",
        ),
        ({"schema": None}, "schema: None is unknown to this release"),
        ({"extra": 1}, "extra: unknown key; known: "),
        ({"products": [{**product, "sha256": "x"}]}, "products[0].sha256: 'x' is not a SHA-256"),
        ({"products": [{**product, "bytes": -1}]}, "products[0].bytes: -1 is negative"),
        (
            {"products": [{**product, "base": "host"}]},
            "products[0].base: 'host' is not possible; known: repository, s",
        ),
        (
            {"products": [{**product, "path": "../m"}]},
            "products[0].path: '../m': the path climbs out of its directory",
        ),
        ({"products": [product, product]}, "products[1].name: 'model' is there twice"),
        ({"parameters": []}, "parameters: [] is not a mapping"),
    ]
    for change, message in cases:
        path.write_text(json.dumps({**good, **change}))
        with pytest.raises(RecordError) as caught:
            read_record(path)
        assert str(caught.value).startswith(f"{path}: {message}"), str(caught.value)
    path.write_text(json.dumps({key: value for key, value in good.items() if key != "rule"}))
    with pytest.raises(RecordError, match="record.json: rule: is missing; add it"):
        read_record(path)
    for text, message in [("{", "is not JSON"), ("[]", "is not a mapping; this is no record")]:
        path.write_text(text)
        with pytest.raises(RecordError, match=message):
            read_record(path)
    with pytest.raises(RecordError, match="gone.json: cannot be read: No such file or directory; run the rule again"):
        read_record(tmp_path / "gone.json")
