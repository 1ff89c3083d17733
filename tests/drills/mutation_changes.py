"""What can be done to a bundle: each change edits the files in place. All chance comes from the given generator."""

import json
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import yaml

from c2o_evidence.detections import Detections, read_detections, read_detections_metadata, write_detections

Change = Callable[[Path, str, Random], None]
"""Edits the bundle at a root; the path is the file that it is about."""


class NotApplicable(Exception):
    """The file has nothing that this change could change."""


# Bytes and names


def flip(root: Path, path: str, rng: Random) -> None:
    data = bytearray((root / path).read_bytes())
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    (root / path).write_bytes(data)


def truncate(root: Path, path: str, rng: Random) -> None:
    data = (root / path).read_bytes()
    (root / path).write_bytes(data[: rng.randrange(1, len(data))])


def append(root: Path, path: str, rng: Random) -> None:
    with (root / path).open("ab") as stream:
        stream.write(rng.choice([b"\n", b" ", b"\x00", b"0", b"# more\n", b"\xff\xfe"]))


def empty(root: Path, path: str, rng: Random) -> None:
    (root / path).write_bytes(b"")


def delete(root: Path, path: str, rng: Random) -> None:
    (root / path).unlink()


def rename(root: Path, path: str, rng: Random) -> None:
    (root / path).rename(root / f"{path}.old")


def link(root: Path, path: str, rng: Random) -> None:
    moved = root.parent / "outside"
    (root / path).rename(moved)
    (root / path).symlink_to(moved)


def add_file(root: Path, path: str, rng: Random) -> None:
    (root / f"{path}.more").write_text("more\n")


def add_hidden(root: Path, path: str, rng: Random) -> None:
    (root / path).with_name(".hidden").write_text("hidden\n")


def add_empty(root: Path, path: str, rng: Random) -> None:
    (root / path).with_name("empty").touch()


def add_directory(root: Path, path: str, rng: Random) -> None:
    (root / path).with_name("directory").mkdir()


def other_of(path: str, kinds: tuple[str, ...], rng: Random) -> str:
    others = [name for name in kinds if name != path]
    if not others:
        raise NotApplicable
    return rng.choice(others)


def swap(root: Path, path: str, other: str) -> None:
    one, two = (root / path).read_bytes(), (root / other).read_bytes()
    (root / path).write_bytes(two)
    (root / other).write_bytes(one)


def copy_over(root: Path, path: str, other: str) -> None:
    shutil.copyfile(root / other, root / path)


# Tables


def read_cells(path: Path) -> list[list[str]]:
    return [line.split("\t") for line in path.read_text().rstrip("\n").split("\n")]


def write_cells(path: Path, lines: list[list[str]]) -> None:
    path.write_text("".join("\t".join(line) + "\n" for line in lines))


def bump(text: str) -> str:
    """Another number of the same spelling rules."""
    if text.isdigit():
        return str(int(text) + 1)
    return repr(round(float(text) * 1.01 + 0.5, 6))


def edit_cell(column: Callable[[str, str], bool], change: Callable[[str], str]) -> Change:
    """Edits one cell among those of which `column(name, text)` holds."""

    def run(root: Path, path: str, rng: Random) -> None:
        lines = read_cells(root / path)
        places = [
            (number, index)
            for number, line in enumerate(lines[1:], start=1)
            for index, cell in enumerate(line)
            if column(lines[0][index], cell)
        ]
        if not places:
            raise NotApplicable
        number, index = rng.choice(places)
        lines[number][index] = change(lines[number][index])
        write_cells(root / path, lines)

    return run


def is_number(name: str, text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return (
        not name.endswith(("seed", "sha256", "_id"))
        and name not in ("exp_name", "iteration", "epochs")
        and text != "nan"
    )


edit_number = edit_cell(is_number, bump)
edit_digest = edit_cell(lambda name, text: name.endswith("sha256"), lambda text: text[::-1])
edit_seed = edit_cell(
    lambda name, text: name in ("train_seed", "eval_seed", "iteration"), lambda text: str(int(text) + 7)
)
edit_label = edit_cell(
    lambda name, text: name in ("label", "method", "claim", "exp_name", "exp_id", "impl", "type") and text != "",
    lambda text: "torch" if text == "mha" else "mha" if text == "torch" else f"{text}x",
)
edit_path = edit_cell(lambda name, text: "/" in text, lambda text: text.replace("baseline", "student", 1) + "2")


def reorder(root: Path, path: str, rng: Random) -> None:
    head, *rows = read_cells(root / path)
    if len(rows) < 2:
        raise NotApplicable
    first = rng.randrange(len(rows) - 1)
    rows[first], rows[first + 1] = rows[first + 1], rows[first]
    write_cells(root / path, [head, *rows])


def duplicate_row(root: Path, path: str, rng: Random) -> None:
    head, *rows = read_cells(root / path)
    row = rng.randrange(len(rows))
    write_cells(root / path, [head, *rows[: row + 1], *rows[row:]])


def delete_row(root: Path, path: str, rng: Random) -> None:
    head, *rows = read_cells(root / path)
    del rows[rng.randrange(len(rows))]
    write_cells(root / path, [head, *rows])


def swap_values(root: Path, path: str, rng: Random) -> None:
    """The numbers of two seeds of one row of the suite change places."""
    head, *rows = read_cells(root / path)
    names = [row[head.index("exp_name")] for row in rows]
    first = rng.randrange(len(rows))
    second = next(i for i, name in enumerate(names) if name == names[first] and i != first)
    start = head.index("AP")
    rows[first][start:], rows[second][start:] = rows[second][start:], rows[first][start:]
    write_cells(root / path, [head, *rows])


# Documents


def edit_json(change: Callable[[Any, Random], None]) -> Change:
    def run(root: Path, path: str, rng: Random) -> None:
        document = json.loads((root / path).read_bytes())
        before = json.dumps(document)
        change(document, rng)
        if json.dumps(document) == before:
            raise NotApplicable
        (root / path).write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n")

    return run


def edit_yaml(change: Callable[[Any, Random], None]) -> Change:
    def run(root: Path, path: str, rng: Random) -> None:
        document = yaml.safe_load((root / path).read_text())
        change(document, rng)
        text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=100)
        if text == (root / path).read_text():
            raise NotApplicable
        (root / path).write_text(text)

    return run


def edit_configs(root: Path, path: str, rng: Random) -> None:
    """One number in a configuration, in every training that has this very configuration."""
    before = (root / path).read_bytes()
    document = yaml.safe_load(before)
    key = rng.choice(sorted(document["SOLVER"]))
    document["SOLVER"][key] += 1
    for other in root.glob("train/*/*/config.yaml"):
        if other.read_bytes() == before:
            other.write_text(yaml.safe_dump(document))


def edit_text(root: Path, path: str, rng: Random) -> None:
    """One digit of a text that a reader sees becomes another one."""
    text = (root / path).read_text()
    visible = text.index("<body") if "<body" in text else 0
    places = [i for i in range(visible, len(text)) if text[i].isdigit()]
    if not places:
        places = [i for i in range(visible, len(text)) if text[i].isalpha()]
    place = rng.choice(places)
    other = "a" if text[place] != "a" and not text[place].isdigit() else "7" if text[place] != "7" else "3"
    (root / path).write_text(text[:place] + other + text[place + 1 :])


def edit_pixels(root: Path, path: str, rng: Random) -> None:
    """One pixel of a PNG; its chunks stay whole, so that every reader shows it."""
    data = (root / path).read_bytes()
    start = data.index(b"IDAT") - 4
    length = int.from_bytes(data[start : start + 4], "big")
    chunks, rest = data[start + 8 : start + 8 + length], data[start + 12 + length :]
    while rest[4:8] == b"IDAT":
        length = int.from_bytes(rest[:4], "big")
        chunks, rest = chunks + rest[8 : 8 + length], rest[12 + length :]
    pixels = bytearray(zlib.decompress(chunks))
    pixels[len(pixels) // 2] ^= 0x55
    body = b"IDAT" + zlib.compress(bytes(pixels))
    packed = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    (root / path).write_bytes(data[:start] + packed + rest)


# Tensors


def edit_header(key: str, value: str | None) -> Change:
    """Metadata of a checkpoint; None takes the entry out. The tensors stay."""

    def run(root: Path, path: str, rng: Random) -> None:
        data = (root / path).read_bytes()
        length = struct.unpack("<Q", data[:8])[0]
        header = json.loads(data[8 : 8 + length])
        before = header["__metadata__"].get(key)
        if before is None or before == value:
            raise NotApplicable
        header["__metadata__"][key] = value
        if value is None:
            del header["__metadata__"][key]
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        (root / path).write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])

    return run


def edit_tensor(root: Path, path: str, rng: Random) -> None:
    """A bit of a weight; the header stays."""
    data = bytearray((root / path).read_bytes())
    data[-rng.randrange(1, 200)] ^= 1 << rng.randrange(8)
    (root / path).write_bytes(data)


def edit_runs(change: Callable[[dict[tuple[str, int], Detections], Random], None]) -> Change:
    def run(root: Path, path: str, rng: Random) -> None:
        runs, metadata = read_detections(root / path), read_detections_metadata(root / path)
        change(runs, rng)
        write_detections(root / path, runs, metadata)

    return run


def shift_scores(runs: dict[tuple[str, int], Detections], rng: Random) -> None:
    """The worst detection of a run becomes its best: AP moves."""
    run = runs[rng.choice(sorted(runs))]
    run.score[int(run.score.argmin())] = 0.999
    run.box[int(run.score.argmax())] += 20


def nudge_box(runs: dict[tuple[str, int], Detections], rng: Random) -> None:
    """A thousandth of a pixel: no AP moves."""
    run = runs[rng.choice(sorted(runs))]
    run.box[0] += 0.001


def swap_runs(runs: dict[tuple[str, int], Detections], rng: Random) -> None:
    name = rng.choice(sorted({exp_id for exp_id, _ in runs}))
    runs[name, 0], runs[name, 1] = runs[name, 1], runs[name, 0]


def copy_run(runs: dict[tuple[str, int], Detections], rng: Random) -> None:
    name = rng.choice(sorted({exp_id for exp_id, _ in runs}))
    runs[name, 1] = runs[name, 0]


def delete_run(runs: dict[tuple[str, int], Detections], rng: Random) -> None:
    del runs[rng.choice(sorted(runs))]


def rename_run(runs: dict[tuple[str, int], Detections], rng: Random) -> None:
    name, seed = rng.choice(sorted(runs))
    runs[name, seed + 7] = runs.pop((name, seed))
