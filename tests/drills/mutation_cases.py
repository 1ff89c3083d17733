"""The list of mutations: which change is made to which files, and how far it is hidden. The same list in every run.

A case is known by its number: `pytest -k case_123` runs it again. Chance within a case (which byte, which cell) comes
from SEED and the number.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from tests.drills import mutation_changes as change
from tests.drills.mutation_changes import Change, edit_header, edit_json, edit_runs, edit_yaml
from tests.drills.mutation_files import KINDS, RECORDS, TABLES

SEED = 20


@dataclass(frozen=True)
class Case:
    """One mutation: what is done to which file, and what is made again after it (see mutation_seals)."""

    number: int
    seal: str
    change: str
    kind: str
    path: str
    apply: Change

    @property
    def name(self) -> str:
        return f"case_{self.number:03d}-{self.seal}-{self.change}-{self.path.replace('/', ':')}"

    def run(self, root: Path) -> None:
        self.apply(root, self.path, Random(f"{SEED}/{self.number}"))


def put(*keys: str | int, value: Any = None, by: Callable[[Any], Any] | None = None) -> Callable[[Any, Random], None]:
    """Sets an entry of a document, or changes it by a function."""

    def run(document: Any, rng: Random) -> None:
        for key in keys[:-1]:
            document = document[key]
        document[keys[-1]] = value if by is None else by(document[keys[-1]])

    return run


def drop(*keys: str | int) -> Callable[[Any, Random], None]:
    def run(document: Any, rng: Random) -> None:
        for key in keys[:-1]:
            document = document[key]
        del document[keys[-1]]

    return run


def backwards(text: str) -> str:
    return text[::-1]


def plan_digest(document: Any, rng: Random) -> None:
    key = "recipe" if "recipe" in document["parameters"] else "digest"
    document["parameters"][key] = document["parameters"][key][::-1]


def entity(name: str, key: str, by: Callable[[Any], Any]) -> Callable[[Any, Random], None]:
    def run(document: Any, rng: Random) -> None:
        found = next(item for item in document["@graph"] if item["@id"] == name)
        found[key] = by(found[key])

    return run


def whole(kinds: tuple[str, ...], edit: Callable[[Path, str, str], None]) -> Change:
    """A change between a file and another one of its kind."""

    def run(root: Path, path: str, rng: Random) -> None:
        edit(root, path, change.other_of(path, kinds, rng))

    return run


BYTES: dict[str, Change] = {
    "flip": change.flip,
    "truncate": change.truncate,
    "append": change.append,
    "empty": change.empty,
    "delete": change.delete,
    "rename": change.rename,
    "link": change.link,
}
ADDED: dict[str, Change] = {
    "add-file": change.add_file,
    "add-hidden": change.add_hidden,
    "add-empty": change.add_empty,
    "add-directory": change.add_directory,
}
CELLS: dict[str, Change] = {
    "number": change.edit_number,
    "digest": change.edit_digest,
    "seed": change.edit_seed,
    "label": change.edit_label,
    "path": change.edit_path,
    "reorder": change.reorder,
    "duplicate-row": change.duplicate_row,
    "delete-row": change.delete_row,
}
RECORD: dict[str, Change] = {
    "product-digest": edit_json(put("products", 0, "sha256", by=backwards)),
    "product-size": edit_json(put("products", 0, "bytes", by=lambda size: size + 1)),
    "drop-product": edit_json(drop("products", 0)),
    "material-digest": edit_json(put("materials", 0, "sha256", by=backwards)),
    "drop-material": edit_json(drop("materials", 0)),
    "told-suite": edit_json(put("parameters", "suite", value="other")),
    "told-seed": edit_json(put("parameters", "seed", by=lambda seed: str(1 - int(seed)))),
    "plan-digest": edit_json(plan_digest),
    "code-digest": edit_json(put("code_sha256", by=backwards)),
    "rule": edit_json(put("rule", value="other")),
    "cpu": edit_json(put("host", "hardware", "cpu", value="Another processor")),
    "hardware-id": edit_json(put("host", "hardware_id", value="0123456789ab")),
    "lock": edit_json(put("lock_sha256", by=backwards)),
    "tool": edit_json(put("tools", "numpy", value="0.0")),
    "time": edit_json(put("ended", value="2024-01-31T12:00:01Z")),
    "host": edit_json(put("host", "name", value="another")),
}
CRATE: dict[str, Change] = {
    "entity-digest": edit_json(entity("manifest.tsv", "sha256", backwards)),
    "entity-size": edit_json(entity("manifest.tsv", "contentSize", lambda size: f"{size}0")),
    "entity-name": edit_json(entity("manifest.tsv", "name", backwards)),
    "entity-time": edit_json(entity("./", "datePublished", backwards)),
    "drop-entity": edit_json(drop("@graph", -1)),
    "twice-entity": edit_json(lambda document, rng: document["@graph"].append(document["@graph"][0])),
    "add-entity": edit_json(lambda document, rng: document["@graph"].append({"@id": "#x", "@type": "Thing"})),
}
SUITE: dict[str, Change] = {
    "drop-train-seed": edit_yaml(drop("train_seeds", 1)),
    "drop-eval-seed": edit_yaml(drop("eval_seeds", 1)),
    "add-eval-seed": edit_yaml(lambda document, rng: document["eval_seeds"].append(2)),
    "drop-row": edit_yaml(drop("rows", 1)),
    "step": edit_yaml(put("rows", 1, "sample_step", value=8)),
    "row-options": edit_yaml(put("rows", 0, "opts", value={"MODEL.RESTARTS": 2})),
    "suite-label": edit_yaml(put("rows", 0, "label", value="Another label")),
    "title": edit_yaml(put("title", value="Another title")),
    "description": edit_yaml(put("description", value="Another text.")),
    "data-seed": edit_yaml(put("data_config", "seed", value=8)),
    "init": edit_yaml(put("experiments", "student", "init", value="backbone")),
    "no-teacher": edit_yaml(put("experiments", "student", "teacher", value=None)),
    "repeats": edit_yaml(put("timing", "repeats", value=30)),
    "nodes": edit_yaml(put("attention", "nodes", value=[200])),
    "claim": edit_yaml(put("comparisons", 0, "claim", value="it does not")),
    "main-notes": edit_yaml(put("main_table", 0, "notes", value="better")),
    "model-file": edit_yaml(put("experiments", "student", "model", value="configs/models/other.yaml")),
    "name": edit_yaml(put("name", value="other")),
}
MODEL: dict[str, Change] = {
    "tensor": change.edit_tensor,
    "header-seed": edit_header("train_seed", "7"),
    "header-recipe": edit_header("recipe_sha256", "a" * 64),
    "header-config": edit_header("config_sha256", "a" * 64),
    "header-data": edit_header("data_sha256", "a" * 64),
    "header-code": edit_header("code_sha256", "a" * 64),
    "header-parent": edit_header("init_sha256", "a" * 64),
    "header-no-recipe": edit_header("recipe_sha256", None),
    "header-length": edit_header("iterations", "9"),
}
DETECTIONS: dict[str, Change] = {
    "score": edit_runs(change.shift_scores),
    "nudge": edit_runs(change.nudge_box),
    "swap-runs": edit_runs(change.swap_runs),
    "copy-run": edit_runs(change.copy_run),
    "delete-run": edit_runs(change.delete_run),
    "rename-run": edit_runs(change.rename_run),
}
ANNOTATIONS: dict[str, Change] = {
    "box": edit_json(put("annotations", 0, "bbox", by=lambda box: [box[0] + 20, *box[1:]])),
    "category-name": edit_json(put("categories", 0, "name", value="lion")),
}
DATA: dict[str, Change] = {
    "data-digest": edit_json(put("files", "val.json", "sha256", by=backwards)),
    "data-whole": edit_json(put("sha256", by=backwards)),
    "data-size": edit_json(put("files", "val.json", "bytes", value=1)),
    "data-name": edit_json(put("name", value="other")),
}


def _move(step: int) -> Change:
    """The first box of a step of the denoising, moved by a tenth of a pixel."""
    where = ("filmstrip", "steps", step, "boxes", 0)
    return edit_json(put(*where, by=lambda box: [box[0] + 0.1, *box[1:]]))


GALLERY: dict[str, Change] = {
    "first-step": _move(0),
    "last-step": _move(-1),
    "edge": edit_json(put("attention", "edges", 0, value=[0, 1, 0.5])),
    "node": edit_json(put("attention", "scores", 0, value=0.999)),
    "other-picture": edit_json(put("images", 0, "image_id", value=3)),
}


def column(name: str) -> Change:
    return change.edit_cell(lambda head, text: head == name, change.bump)


MEASURED: dict[str, tuple[str, str]] = {
    "loss": ("curve", "loss"),
    "rate": ("curve", "lr"),
    "seconds": ("timing", "inference_s_per_img"),
    "slowest": ("timing", "inference_s_per_img_max"),
    "height": ("timing", "image_height"),
    "kernel-time": ("attention", "time_s"),
    "kernel-error": ("attention", "max_abs_diff"),
}


NOT_THERE = {
    *(("number", kind) for kind in ("timing", "attention", "curve")),  # these are in MEASURED, column by column
    ("label", "curve"),
    ("reorder", "comparisons"),  # one row
    *(
        (name, kind)
        for name in ("digest", "path")
        for kind in ("summary", "main", "comparisons", "detail", "attention", "curve")
    ),
    *(("seed", kind) for kind in ("summary", "main", "comparisons", "detail", "attention")),
    *(("told-seed", kind) for kind in ("timing-record", "attention-record", "tables-record", "gallery-record")),
    *((name, "attention-record") for name in ("material-digest", "drop-material")),
}
"""(change, kind of file) where the file has nothing that could be changed so."""


def one_of(kind: str, rng: Random) -> str:
    return rng.choice(KINDS[kind])


def planned() -> Iterator[tuple[str, str, str, str, Change]]:
    """(seal, change, kind, path, function) of every case."""
    rng = Random(SEED)
    every = [(kind, path) for kind, paths in KINDS.items() for path in paths]
    for name in ("flip", "truncate", "append", "delete", "rename"):
        yield from (("none", name, kind, path, BYTES[name]) for kind, path in every if kind != "sums")
    for kind in KINDS:
        if kind != "sums":
            yield from (("none", name, kind, one_of(kind, rng), BYTES[name]) for name in ("empty", "link"))
            yield from (("sums", name, kind, one_of(kind, rng), BYTES[name]) for name in BYTES if name != "link")
    yield from (("none", name, "sums", "SHA256SUMS", BYTES[name]) for name in BYTES if name not in ("delete", "rename"))
    for seal, kinds in (("none", ("model", "summary", "svg")), ("lists", ("model", "svg"))):
        added = [name for name in ADDED if (seal, name) != ("lists", "add-directory")]  # no list has directories
        yield from ((seal, name, kind, one_of(kind, rng), ADDED[name]) for kind in kinds for name in added)
    for kind in (
        "model",
        "config",
        "curve",
        "train-record",
        "results",
        "detections",
        "eval-record",
        "svg",
        "png",
        "pdf",
    ):
        for name, edit in (("swap", change.swap), ("copy-over", change.copy_over)):
            kinds = KINDS[kind] if kind in ("svg", "png", "pdf") else KINDS[kind][-2:]  # the two seeds of the student
            kinds = KINDS[kind][2:4] if kind == "config" else kinds  # those of one experiment are equal
            function = whole(kinds, edit)
            yield from ((seal, name, kind, kinds[0], function) for seal in ("none", "lists"))
            if kind in ("model", "results", "detections"):
                yield "digests", name, kind, kinds[0], function
    for kind in TABLES:
        for name, function in CELLS.items():
            yield from ((seal, name, kind, one_of(kind, rng), function) for seal in ("lists", "digests"))
    for kind in ("runs", "results"):
        yield "digests", "swap-values", kind, one_of(kind, rng), change.swap_values
    for name, (kind, head) in MEASURED.items():
        yield from ((seal, name, kind, one_of(kind, rng), column(head)) for seal in ("lists", "digests"))
    for kind in RECORDS:
        yield from (("lists", name, kind, KINDS[kind][-1], function) for name, function in RECORD.items())
    yield from (("sums", name, "crate", "ro-crate-metadata.json", function) for name, function in CRATE.items())
    groups = (("suite", SUITE), ("annotations", ANNOTATIONS), ("data-manifest", DATA))
    for kind, functions in groups:
        for seal in ("lists", "digests", "plan"):
            yield from ((seal, name, kind, KINDS[kind][0], function) for name, function in functions.items())
    for seal in ("lists", "digests"):
        yield from ((seal, name, "gallery", KINDS["gallery"][0], function) for name, function in GALLERY.items())
    for seal in ("sums", "lists", "digests"):
        yield from ((seal, name, "model", "train/baseline/seed1/model.safetensors", f) for name, f in MODEL.items())
        yield from ((seal, name, "detections", one_of("detections", rng), f) for name, f in DETECTIONS.items())
        texts = ("text-table", "verifier", "readme", "page", "svg", "lock")
        yield from ((seal, "digit", kind, one_of(kind, rng), change.edit_text) for kind in texts)
        yield seal, "pixel", "png", one_of("png", rng), change.edit_pixels
        yield seal, "setting", "config", one_of("config", rng), change.edit_configs
    yield "plan", "setting", "config", one_of("config", rng), change.edit_configs
    for kind, name, function in (
        ("detections", "score", DETECTIONS["score"]),
        ("annotations", "box", ANNOTATIONS["box"]),
        ("timing", "seconds", column("inference_s_per_img")),
        ("attention", "kernel-time", column("time_s")),
        ("curve", "loss", column("loss")),
        ("suite", "suite-label", SUITE["suite-label"]),
        ("suite", "step", SUITE["step"]),
        ("config", "setting", change.edit_configs),
        ("model", "tensor", change.edit_tensor),
    ):
        yield "all", name, kind, KINDS[kind][-1], function


def all_cases() -> list[Case]:
    return [Case(number, *rest) for number, rest in enumerate(p for p in planned() if (p[1], p[2]) not in NOT_THERE)]
