"""Stored detections: safetensors bytes, equal for equal content, and a reader that trusts nothing."""

import json
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from c2o_evidence.detections import Detections, read_detections, read_detections_metadata, write_detections
from c2o_evidence.errors import DetectionsError


def make(count, seed=0):
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 100, (count, 2)).astype(np.float32)
    return Detections.from_arrays(
        {
            "image_id": np.sort(rng.integers(1, 9, count)),
            "box": np.concatenate([corner, corner + rng.uniform(0, 30, (count, 2)).astype(np.float32)], axis=1),
            "score": rng.uniform(0, 1, count),
            "label": rng.integers(0, 10, count),
        }
    )


def split(data):
    length = struct.unpack("<Q", data[:8])[0]
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def join(header, body):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


@settings(max_examples=25, deadline=None)
@given(counts=st.lists(st.integers(0, 7), max_size=4), data=st.data())
def test_round_trip_and_order_independent_bytes(tmp_path_factory, counts, data):
    runs = {(f"exp_{i % 2}", i * 11): make(count, i) for i, count in enumerate(counts)}
    metadata = {"ckpt_sha256": "é", "b": "2", "a": "1"}
    path = tmp_path_factory.mktemp("d") / "detections.safetensors"
    write_detections(path, runs, metadata)
    first = path.read_bytes()
    order = data.draw(st.permutations(list(runs)))
    write_detections(path, {key: runs[key] for key in order}, dict(reversed(metadata.items())))
    assert path.read_bytes() == first
    back = read_detections(path)
    assert list(back) == sorted(runs)
    assert all(back[key] == runs[key] for key in runs)
    assert read_detections_metadata(path) == metadata


def test_the_safetensors_library_reads_it(tmp_path):
    safetensors = pytest.importorskip("safetensors")
    numpy_api = pytest.importorskip("safetensors.numpy")
    path = tmp_path / "d.safetensors"
    runs = {("a", 0): make(5), ("a", 1): make(0), ("b.c-d", 4294967295): make(3, 2)}
    write_detections(path, runs, {"classes": '["x"]', "z": "1"})
    tensors = numpy_api.load_file(path)
    assert len(tensors) == 12
    for (exp_id, seed), run in runs.items():
        for name in ("image_id", "box", "score", "label"):
            stored = tensors[f"{exp_id}/{seed}/{name}"]
            assert stored.dtype == getattr(run, name).dtype
            assert np.array_equal(stored, getattr(run, name))
    with safetensors.safe_open(path, "numpy") as opened:
        assert opened.metadata() == {"classes": '["x"]', "z": "1"}


def test_what_cannot_be_stored(tmp_path):
    good = make(3)
    cases = [
        ({"score": np.array([0.1, np.nan, 0.2], np.float32)}, "x: score: detection 1 is not finite"),
        (
            {"box": np.array([[0, 0, 1, 1]] * 2 + [[5, 0, 4, 1]], np.float32)},
            "x: box: detection 2 [5.0, 0.0, 4.0, 1.0]",
        ),
        ({"label": np.array([0, -1, 2])}, "x: label: detection 1 has a negative label"),
        ({"label": np.array([0, 1])}, "x: label: is int64 [2], not <i8 [3]"),
        ({"score": np.zeros(3)}, "x: score: is float64 [3], not <f4 [3]"),
        ({"box": np.zeros((3, 5), np.float32)}, "x: box: is float32 [3, 5], not <f4 [3, 4]"),
    ]
    for change, message in cases:
        with pytest.raises(DetectionsError) as caught:
            Detections(**{**vars(good), **change}).check("x")
        assert str(caught.value).startswith(message), str(caught.value)
    with pytest.raises(DetectionsError, match=r"'../a/0/\w+' is not EXP_ID/EVAL_SEED/NAME"):
        write_detections(tmp_path / "d", {("../a", 0): good})
    with pytest.raises(DetectionsError, match=r"'a/-1/\w+' is not EXP_ID/EVAL_SEED/NAME"):
        write_detections(tmp_path / "d", {("a", -1): good})
    with pytest.raises(DetectionsError, match="metadata: 'n' is not text"):
        write_detections(tmp_path / "d", {}, {"n": 3})
    assert list(tmp_path.iterdir()) == []


def test_damaged_files_are_refused(tmp_path):
    path = tmp_path / "d.safetensors"
    write_detections(path, {("a", 0): make(4)}, {"k": "v"})
    data = path.read_bytes()
    header, body = split(data)

    def changed(key, **entry):
        return join({**header, key: {**header[key], **entry}}, body)

    no_score = {key: value for key, value in header.items() if key != "a/0/score"}
    cases = [
        (data[:-1], "but has"),
        (data + b"\0", "but has"),
        (data[:4], "has 4 bytes; a file of detections has 8 to"),
        (
            struct.pack("<Q", 1 << 60) + data[8:],
            f"declares a header of {1 << 60} bytes; the file is cut off or damaged",
        ),
        (struct.pack("<Q", len(data)) + data[8:], "declares a header of"),
        (join(b"[1]", b""), "the header is not a mapping"),
        (join(b"{", b""), "the header is not usable"),
        (join(b'{"a": \xff}', b""), "the header is not usable"),
        (
            join(b'{"__metadata__": {}, "__metadata__": {}}', b""),
            "is given twice",
        ),
        (join({**header, "__metadata__": {"k": 1}}, body), "__metadata__: is not a mapping of texts"),
        (
            join({**header, "a/0/extra": header["a/0/score"]}, body),
            "'a/0/extra' is not EXP_ID/EVAL_SEED/NAME",
        ),
        (
            join({**header, "a/00/score": header["a/0/score"]}, body),
            "'a/00/score' is not EXP_ID/EVAL_SEED/NAME",
        ),
        (changed("a/0/score", dtype="F64"), "a/0/score: dtype: 'F64' instead of 'F32'"),
        (changed("a/0/score", shape=[5]), "a/0/score: data_offsets: "),
        (changed("a/0/score", shape=[4, 1]), "a/0/score: shape: [4, 1] is not possible"),
        (changed("a/0/score", shape=[-4]), "a/0/score: shape: [-4] is not possible"),
        (changed("a/0/score", shape=[4.0]), "a/0/score: shape: [4.0] is not possible"),
        (changed("a/0/box", shape=[2, 8]), "a/0/box: shape: [2, 8] is not possible"),
        (changed("a/0/score", data_offsets=[0, 16]), "instead of"),
        (changed("a/0/score", data_offsets=[1 << 70, (1 << 70) + 16]), "a/0/score: data_offsets: "),
        (changed("a/0/score", more=1), "a/0/score: its entry is malformed"),
        (join(no_score, body[:-16]), "a/0: score: is missing; restore the file"),
    ]
    for bad, message in cases:
        path.write_bytes(bad)
        with pytest.raises(DetectionsError) as caught:
            read_detections(path)
        assert str(caught.value).startswith(f"{path}: ") and message in str(caught.value), str(caught.value)
    with pytest.raises(DetectionsError, match="gone: cannot be read: No such file or directory; evaluate again"):
        read_detections(tmp_path / "gone")


def test_a_hole_between_tensors_is_refused(tmp_path):
    path = tmp_path / "d.safetensors"
    write_detections(path, {("a", 0): make(4)})
    header, body = split(path.read_bytes())
    last = max(header, key=lambda key: header[key]["data_offsets"])
    begin, end = header[last]["data_offsets"]
    header[last]["data_offsets"] = [begin + 8, end + 8]
    path.write_bytes(join(header, body[:begin] + b"smuggled" + body[begin:]))
    with pytest.raises(DetectionsError, match=f"{last}: lies at {begin + 8} instead of {begin}; the file is damaged"):
        read_detections(path)


def test_values_are_checked_when_read(tmp_path):
    path = tmp_path / "d.safetensors"
    write_detections(path, {("a", 0): make(4)})
    header, body = split(path.read_bytes())
    begin, end = header["a/0/score"]["data_offsets"]
    bad = body[:begin] + struct.pack("<f", float("inf")) + body[begin + 4 :]
    path.write_bytes(join(header, bad))
    with pytest.raises(DetectionsError, match="a/0: score: detection 0 is not finite"):
        read_detections(path)
    assert end - begin == 16


@settings(max_examples=60, deadline=None)
@given(position=st.integers(0, 10**6), value=st.integers(0, 255))
def test_no_byte_can_change_without_a_fault_or_a_difference(tmp_path_factory, position, value):
    path = tmp_path_factory.mktemp("d") / "d.safetensors"
    runs = {("a", 0): make(2), ("a", 1): make(1, 3)}
    write_detections(path, runs, {"k": "v"})
    data = bytearray(path.read_bytes())
    position %= len(data)
    same = data[position] == value
    data[position] = value
    path.write_bytes(bytes(data))
    try:
        back, metadata = read_detections(path), read_detections_metadata(path)
    except DetectionsError:
        assert not same
    else:
        # Spaces of the header may become other white space; all else that is read must show the change.
        blank = chr(value) in " \t\n\r"
        assert (
            same
            or blank
            or set(back) != set(runs)
            or metadata != {"k": "v"}
            or any(
                bytes(getattr(back[key], name)) != bytes(getattr(runs[key], name))
                for key in runs
                for name in ("image_id", "box", "score", "label")
            )
        )
