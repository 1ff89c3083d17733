"""Files that are what was listed, and were made to break whoever reads them: bombs, lies, pickles, odd texts."""

import json
import os
import pickle
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.drills.sandbox import DETECTIONS, MODEL, RECORD, RESULTS, STANDALONE, Sandbox, edit, edit_json, seal

Change = Callable[[bytes], bytes]
VAL = "data/val.json"


def safetensors(header: object, body: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + body


def tensor(dtype: object = "F32", shape: object = (4,), offsets: object = (0, 16), **more: object) -> dict:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets, **more}


HEADERS: dict[str, bytes] = {
    "header of 2^63 bytes": safetensors({}, length=1 << 63),
    "header of 2^64-1 bytes": safetensors({}, length=(1 << 64) - 1),
    "header longer than the file": safetensors({}, length=1 << 20),
    "nothing": b"",
    "seven bytes": b"\0" * 7,
    "a header that is no JSON": safetensors(b"{nonsense}"),
    "a header that is a list": safetensors([]),
    "a bomb of brackets": safetensors(b"[" * 4_000_000),
    "a bomb of lists": safetensors(b"[" + b"[]," * 1_000_000 + b"[]]"),
    "a bomb of names": safetensors(b"{" + b",".join(b'"%d":{}' % i for i in range(200_000)) + b"}"),
    "a name twice": safetensors(b'{"__metadata__":{},"__metadata__":{}}'),
    "a number of 5000 digits": safetensors(b'{"w":' + b"9" * 5000 + b"}"),
    "NaN": safetensors(b'{"w":NaN}'),
    "metadata of numbers": safetensors({"__metadata__": {"train_seed": 0}}),
    "metadata that is half a character": safetensors(b'{"__metadata__":{"experiment":"\\ud800"}}'),
    "an unknown dtype": safetensors({"w": tensor("PICKLE")}, b"\0" * 16),
    "a dtype that lies": safetensors({"w": tensor("F64")}, b"\0" * 16),
    "a shape that overflows 64 bits": safetensors({"w": tensor(shape=[1 << 32, 1 << 32, 1 << 32])}, b"\0" * 16),
    "a shape that wraps to the size": safetensors({"w": tensor("U8", [(1 << 60) + 1, 16], [0, 16])}, b"\0" * 16),
    "a negative side": safetensors({"w": tensor(shape=[-1, -4])}, b"\0" * 16),
    "offsets outside": safetensors({"w": tensor(offsets=[1 << 40, (1 << 40) + 16])}, b"\0" * 16),
    "offsets that overlap": safetensors({"a": tensor(), "b": tensor(offsets=[8, 24])}, b"\0" * 24),
    "offsets with a gap": safetensors({"a": tensor(), "b": tensor(offsets=[32, 48])}, b"\0" * 48),
    "offsets backwards": safetensors({"w": tensor(offsets=[16, 0])}, b"\0" * 16),
    "one body for a million tensors": safetensors({f"w{i}": tensor() for i in range(30_000)}, b"\0" * 16),
    "bytes behind the last tensor": safetensors({"w": tensor()}, b"\0" * 17),
}


@pytest.mark.parametrize("data", HEADERS.values(), ids=HEADERS.keys())
def test_a_checkpoint(sandbox: Sandbox, bundle: Path, data: bytes) -> None:
    edit(bundle, MODEL, lambda _: data)
    sandbox.tables(bundle, f"{MODEL}: ")
    if b"experiment" not in data:  # else it is a header like any other
        sandbox.refuses("", "show", str(bundle / MODEL))


def declare(count: int, names: tuple[str, ...] = ("image_id", "label", "box", "score")) -> bytes:
    """A header of detections that declares `count` of them, over a body of a few bytes."""
    header, offset = {}, 0
    for name in names:
        width, dtype = {"box": (16, "F32"), "score": (4, "F32")}.get(name, (8, "I64"))
        shape = [count, 4] if name == "box" else [count]
        header[f"base_1/0/{name}"] = tensor(dtype, shape, [offset, offset + width * count])
        offset += width * count
    return safetensors(header, b"\0" * 32)


@pytest.mark.parametrize("data", HEADERS.values(), ids=HEADERS.keys())
def test_detections_as_a_checkpoint_that_lies(sandbox: Sandbox, bundle: Path, data: bytes) -> None:
    edit(bundle, DETECTIONS, lambda _: data)
    sandbox.tables(bundle, f"{DETECTIONS}: ")


@pytest.mark.parametrize("count", [10**12, 1 << 62, 2, -1])
def test_detections_that_declare_more_than_they_hold(sandbox: Sandbox, bundle: Path, count: int) -> None:
    edit(bundle, DETECTIONS, lambda _: declare(count))
    sandbox.tables(bundle, f"{DETECTIONS}: ")


def test_more_detections_than_the_images_can_have(sandbox: Sandbox, bundle: Path) -> None:
    """Six images hold 6000; these are valid zeros, as a sparse file has them for nothing."""
    header = declare(200_000)[:-32]
    edit(bundle, DETECTIONS, lambda _: header + b"\0" * (200_000 * 36))
    sandbox.tables(bundle, "has 200000 detections, more than the 6000")


@pytest.mark.parametrize(
    "names", ['"cat"', "[" * 100_000, '["cat", 7]', '["cat", "cat"]', '["\\u001b[31m"]', "[1e999]"]
)
def test_class_names_beside_the_detections(sandbox: Sandbox, bundle: Path, names: str) -> None:
    def change(data: bytes) -> bytes:
        size = struct.unpack("<Q", data[:8])[0]
        header = json.loads(data[8 : 8 + size])
        header["__metadata__"]["class_names"] = names
        return safetensors(header, data[8 + size :])

    edit(bundle, DETECTIONS, change)
    sandbox.tables(bundle, f"{DETECTIONS}: ")


def with_box(**entry: object) -> bytes:
    box = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 1, 1], "area": 1, "iscrowd": 0}
    image, category = {"id": 1, "width": 64, "height": 64}, {"id": 1, "name": "cat"}
    return json.dumps({"images": [image], "annotations": [{**box, **entry}], "categories": [category]}).encode()


BIG = [{"id": i, "name": f"c{i}"} for i in range(6000)]
ANNOTATIONS: dict[str, bytes] = {
    "ten million lists in each other": b'{"images":' + b"[" * 10_000_000,
    "five million lists": b'{"images":[' + b"[]," * 5_000_000 + b"[]]}",
    "fifty million values": b'{"images":[' + b"0," * 50_000_000 + b"0]}",
    "a number of 5000 digits": with_box(image_id=7).replace(b'"image_id": 7', b'"image_id": ' + b"7" * 5000),
    "a number of 400 digits": with_box(area=10**400),
    "a huge id": with_box(image_id=1 << 70),
    "an id that is a list": with_box(image_id=[1]),
    "an id that is a text": with_box(category_id="1"),
    "a box of NaN": with_box(bbox=[0, 0, float("nan"), 1]),
    "a box without end": with_box(bbox=[0, 0, 1e308, 1e308]),
    "a box of infinity": with_box().replace(b'"area": 1', b'"area": Infinity'),
    "a box of texts": with_box(bbox=["0", "0", "1", "1"]),
    "a box of three": with_box(bbox=[0, 0, 1]),
    "a crowd of infinity": with_box().replace(b'"iscrowd": 0', b'"iscrowd": 1e999'),
    "a crowd of a list": with_box(iscrowd=[]),
    "a name twice": with_box().replace(b'"area": 1', b'"area": 1, "area": 2'),
    "more categories than memory": json.dumps({"images": [], "annotations": [], "categories": BIG}).encode(),
    "a category that clears the screen": with_box().replace(b'cat"}', b'\\u001b[2J"}'),
    "a category that is half a character": with_box().replace(b'cat"}', b'\\ud800"}'),
    "a category with a tab": with_box().replace(b'cat"}', b'c\\tat"}'),
    "no mapping": b"[]",
    "nothing": b"",
    "UTF-16": with_box().decode().encode("utf-16"),
    "a byte order mark": b"\xef\xbb\xbf" + with_box(),
    "NUL": b"\0" * 100,
}


@pytest.mark.parametrize("data", ANNOTATIONS.values(), ids=ANNOTATIONS.keys())
def test_annotations(sandbox: Sandbox, bundle: Path, data: bytes) -> None:
    edit(bundle, VAL, lambda _: data)
    sandbox.tables(bundle, f"malformed: {VAL}: ")


def test_an_outline_is_never_decoded(sandbox: Sandbox, bundle: Path) -> None:
    """A run-length mask of 10^18 pixels: AP is of boxes, so nobody makes the mask."""

    def change(document: dict) -> None:
        mask = {"size": [10**9, 10**9], "counts": "PPYo2" * 1000}
        for item in document["annotations"]:
            item["segmentation"] = mask

    edit_json(bundle, VAL, change)
    outcome = sandbox.run("verify", str(bundle), "--level", "tables", "--jobs", "1")
    assert outcome.code == 1 and outcome.peak_mb < 200 and "12 runs" in outcome.text, outcome.text


@pytest.mark.parametrize("name", [MODEL, DETECTIONS, VAL, RECORD, RESULTS, "suite.yaml", "manifest.tsv"])
@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_a_pickle_is_never_loaded(sandbox: Sandbox, bundle: Path, name: str, protocol: int) -> None:
    canary = bundle.parent / "executed"

    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, (f"touch {canary}",)

    data = pickle.dumps(Bomb(), protocol=protocol)
    edit(bundle, name, lambda _: data)
    sandbox.tables(bundle, name)
    if not name.endswith((".yaml", ".tsv")):
        sandbox.refuses("", "show", str(bundle / name))
    sandbox.run("show", str(bundle / name))  # as a table of one column, if it is text
    assert not canary.exists()
    pickle.loads(data)  # it does work where it is loaded
    assert canary.exists()


@pytest.mark.parametrize(
    ("name", "data"),
    [
        *((RECORD, data) for data in (b"[" * 1_000_000, b"{}", b"null", b"7", b'{"schema": "c2o-record/9"}', b"\xff")),
        (RECORD, b'{"a":' * 300_000 + b"1" + b"}" * 300_000),
        (RECORD, b"[" + b"0," * 3_000_000 + b"0]"),
        ("data/manifest.json", b"[" * 1_000_000),
        ("data/manifest.json", b'{"files": {"a": 1}, "sha256": "x"}'),
    ],
)
def test_a_json_bomb(sandbox: Sandbox, bundle: Path, name: str, data: bytes) -> None:
    edit(bundle, name, lambda _: data)
    sandbox.tables(bundle, name)


def test_a_name_twice_in_a_record(sandbox: Sandbox, bundle: Path) -> None:
    edit(bundle, RECORD, lambda data: data.replace(b'"rule":', b'"rule": "train", "rule":', 1))
    sandbox.tables(bundle, "the name 'rule' is given twice")


TABLES: dict[str, Change] = {
    "CRLF": lambda data: data.replace(b"\n", b"\r\n"),
    "a byte order mark": lambda data: b"\xef\xbb\xbf" + data,
    "UTF-16": lambda data: data.decode().encode("utf-16"),
    "NUL": lambda data: data.replace(b"base_1", b"base\0_1", 1),
    "a byte that is no UTF-8": lambda data: data.replace(b"base_1", b"base\xff_1", 1),
    "the last line cut off": lambda data: data[:-5],
    "an empty line": lambda data: data + b"\n",
    "one line of 100 MB": lambda data: data[:-1] + b"0" * 100_000_000 + b"\n",
    "a million columns": lambda data: b"\t".join(b"AP-%d" % i for i in range(1_000_000)) + b"\n",
    "a million columns behind the right ones": lambda data: data.replace(b"\n", b"\tAP-x" * 1_000_000 + b"\n", 1),
    "a cell of 5000 digits": lambda data: data.replace(b"\t0\t0\t", b"\t" + b"9" * 5000 + b"\t0\t", 1),
    "a colour": lambda data: data.replace(b"base_1", b"\x1b[31mbase_1", 1),
    "infinity": lambda data: data.replace(b"\t0\t0\t1\t", b"\t0\t0\t1\tinf", 1),
    "nothing": lambda data: b"",
}


@pytest.mark.parametrize("change", TABLES.values(), ids=TABLES.keys())
@pytest.mark.parametrize("name", [RESULTS, "tables/runs.tsv"])
def test_a_table(sandbox: Sandbox, bundle: Path, name: str, change: Change) -> None:
    edit(bundle, name, change)
    sandbox.tables(bundle, name)
    if name == "tables/runs.tsv":
        sandbox.refuses("", "show", f"{bundle}:base_1")
        sandbox.refuses(name, str(bundle), script=STANDALONE)


def test_a_million_rows_are_compared_in_one_pass(sandbox: Sandbox, bundle: Path) -> None:
    def change(data: bytes) -> bytes:
        header, row, *_ = data.split(b"\n")
        return header + b"\n" + (row + b"\n") * 100_000

    edit(bundle, "tables/runs.tsv", change)
    sandbox.tables(bundle, "used-twice")
    sandbox.refuses("used twice", str(bundle), script=STANDALONE)


YAML: dict[str, bytes] = {
    "a Python object": b"name: !!python/object/apply:os.system [touch executed]\n",
    "a Python module": b"!!python/module:os\n",
    "a billion laughs": b"a0: &a0 [x, x]\n"
    + b"".join(b"a%d: &a%d [*a%d, *a%d]\n" % (i, i, i - 1, i - 1) for i in range(1, 60)),
    "a billion laughs by merging": b"a0: &a0 {x: 1}\n"
    + b"".join(b"a%d: &a%d {<<: [%s]}\n" % (i, i, b", ".join([b"*a%d" % (i - 1)] * 9)) for i in range(1, 12)),
    "laughs as a key": b"a0: &a0 [x, x]\n"
    + b"".join(b"a%d: &a%d [*a%d, *a%d]\n" % (i, i, i - 1, i - 1) for i in range(1, 40))
    + b"? *a39\n: 1\n",
    "laughs as a set": b"a0: &a0 {x: 1}\nb: !!set {? *a0}\n",
    "itself": b"a: &a [*a]\n",
    "a key twice": b"name: toy\nname: toy\n",
    "a tab": b"name:\n\ttoy\n",
    "a number of 100 kB": b"name: 0x" + b"f" * 100_000 + b"\n",
    "a number of base 60": b"name: 1" + b":1" * 100_000 + b"\n",
    "a number of 20 digits": b"name: toy\ntrain_seeds: [99999999999999999999]\n",
    "a fraction of base 60": b"name: 1" + b":1" * 100_000 + b".5\n",
    "nothing as a truth": b"name: !!bool x\n",
    "nothing as a number": b'name: !!float ""\n',
    "nothing as a date": b"name: !!timestamp x\n",
    "a list as a mapping": b"name: !!map [x]\n",
    "half a character": b'name: toy\ntitle: "\\ud800"\n',
    "a colour": b'name: toy\ntitle: "\\e[31m"\n',
    "a megabyte": b"name: " + b"x" * (1 << 20) + b"\n",
    "brackets": b"[" * 100_000,
    "fifty thousand seeds": b"name: toy\ntrain_seeds: [" + b"1," * 50_000 + b"1]\n",
    "ten thousand mappings": b"name: toy\nrows: [" + b",".join(b"{a: %d}" % i for i in range(10_000)) + b"]\n",
    "infinity": b"name: .inf\n",
    "a date": b"name: 2020-01-01\n",
    "UTF-16": "name: toy\n".encode("utf-16"),
    "a byte that is no UTF-8": b"name: \xff\n",
    "NUL": b"name: to\0y\n",
}


@pytest.mark.parametrize("data", YAML.values(), ids=YAML.keys())
@pytest.mark.parametrize("name", ["suite.yaml", "train/baseline/seed0/config.yaml"])
def test_a_configuration(sandbox: Sandbox, bundle: Path, name: str, data: bytes) -> None:
    edit(bundle, name, lambda _: data)
    sandbox.tables(bundle, name)
    assert not list(bundle.parent.rglob("executed"))


@pytest.mark.parametrize("key", ["train_seeds", "eval_seeds"])
def test_a_suite_of_ten_million_runs(sandbox: Sandbox, bundle: Path, key: str) -> None:
    old = f"{key}:\n- 0\n- 1\n".encode()
    assert old in (bundle / "suite.yaml").read_bytes()
    seeds = (f"{key}:\n" + "".join(f"- {i}\n" for i in range(5000))).encode()
    other = "eval_seeds" if key == "train_seeds" else "train_seeds"
    many = (f"{other}:\n" + "".join(f"- {i}\n" for i in range(4000))).encode()
    edit(bundle, "suite.yaml", lambda data: data.replace(old, seeds).replace(f"{other}:\n- 0\n- 1\n".encode(), many))
    sandbox.tables(bundle, "more than the limit of 100000")


def test_a_malicious_verify_py_is_not_run(sandbox: Sandbox, bundle: Path) -> None:
    """It is a file of the bundle that is hashed; docs/threat-model.md says to run one's own copy."""
    canary = bundle.parent / "executed"
    (bundle / "verify.py").write_text(f"open({str(canary)!r}, 'w')\nprint('verified')\n")
    sandbox.verify(bundle, "changed: verify.py", "changed: verify.py")
    seal(bundle)
    sandbox.run("verify", str(bundle), "--level", "tables", "--jobs", "1")
    assert not canary.exists()
