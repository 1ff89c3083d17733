"""Digests of the sources a rule uses: a change of code re-runs what it can change and nothing else."""

from pathlib import Path

from c2o_evidence.digests import sha256_bytes
from c2o_evidence.errors import DigestError

_DETECTOR = (
    "c2o_model/*.py",
    "c2o_model/diffusion",
    "c2o_model/graph",
    "c2o_model/modeling",
    "c2o_model/sampling",
)
_GENERATOR = tuple(f"c2o_model/data/{name}.py" for name in ("backdrop", "digits", "glyphs", "png", "raster", "scene"))
_READING = tuple(
    f"c2o_model/data/{name}.py"
    for name in ("augment", "coco", "images", "inference", "loader", "nodes", "registration", "resize")
)
# Sets by name are for the command line and the data rule; the others read the set that its manifest describes.
_BY_NAME = tuple(
    f"c2o_model/data/{name}.py"
    for name in (
        *("registration", "public_sets", "annotation_file", "lvis", "crowdhuman", "objects365", "repro10k"),
        "named_copy",
    )
)
# How a training or evaluation is started, shared by processes that find each other, or stopped before its end.
_AROUND = tuple(
    f"c2o_model/{name}.py"
    for name in ("train_net", "stopping", "allocation", "rendezvous", "group", "worker", "lifeline")
)
# Commands of their own, which no rule runs, names that no data configuration can have, and what other stacks train on.
_TOOLS = (
    *(f"c2o_model/{name}.py" for name in ("dry_run", "transfer", "imagenet", "predict")),
    *(f"c2o_model/data/{name}.py" for name in ("class_map", "build_repro10k", "coco_nodes", "repeat")),
)
_TIMING = "c2o_model/evaluation/timing.py"
_ATTENTION = "c2o_model/evaluation/attention_bench.py"

CODE_PARTS: dict[str, tuple[str, ...]] = {
    "data": ("c2o_model/data",),
    "train": (*_DETECTOR, "c2o_model/training", "c2o_model/data"),
    # The metrics are computed by c2o_evidence, so its AP belongs to what an evaluation is made of.
    "evaluate": (
        *_DETECTOR,
        "c2o_model/evaluation",
        "c2o_model/data",
        "c2o_evidence/metrics.py",
        "c2o_evidence/voc07.py",
        "c2o_evidence/crowd.py",
    ),
    "timing": (*_DETECTOR, "c2o_model/evaluation", "c2o_model/data"),
    "attention": ("c2o_model/graph", _ATTENTION),
    "gallery": (*_DETECTOR, "c2o_model/evaluation", "c2o_model/data", "c2o_model/gallery"),
    # Beside "evaluate", for rows of another stack (c2o_evidence.suite_stack).
    "diffusers": ("c2o_model/diffusers",),
    "mmdet": (  # its detector is trained too, so it imports what training draws
        *("c2o_model/mmdet3", "c2o_model/data/coco_nodes.py", "c2o_model/evaluation/shared.py", "c2o_model/group.py"),
        *(f"c2o_model/training/{name}.py" for name in ("__init__", "draws", "processes", "split")),
    ),
    "parity": ("c2o_evidence/parity.py",),
    "tables": tuple(f"c2o_evidence/{name}" for name in ("analysis", "figures", "tables", "stats.py")),
}
"""Sources of each part: patterns of files, or directories with all `*.py` below, from the repository."""

EXCLUDED: dict[str, tuple[str, ...]] = {
    "data": (*_READING, *_TOOLS),
    "train": (*_AROUND, *_TOOLS, "c2o_model/training/shared.py", *_BY_NAME),
    # Another data set comes with another training, so its generator need not count twice.
    "evaluate": (*_AROUND, *_TOOLS, "c2o_model/evaluation/shared.py", _TIMING, _ATTENTION, *_GENERATOR, *_BY_NAME),
    "timing": (*_AROUND, *_TOOLS, "c2o_model/evaluation/shared.py", _ATTENTION, *_GENERATOR, *_BY_NAME),
    "mmdet": ("c2o_model/mmdet3/train.py", "c2o_model/mmdet3/test.py"),  # commands
    "gallery": (
        *(*_AROUND, *_TOOLS, "c2o_model/evaluation/shared.py", _TIMING, _ATTENTION, *_GENERATOR, *_BY_NAME),
        *("c2o_model/gallery/draw.py", "c2o_model/gallery/foreign.py"),  # of `c2o predict` and `c2o watch`
    ),
}
"""Sources below a part's entries that cannot change its result. A new file counts until it is named here."""


def code_files(root: Path | str, part: str) -> tuple[str, ...]:
    """Sorted paths, relative to `root`, of the sources of a part. Entries that do not exist are passed over.

    Raises:
        DigestError: the part is unknown, or has no source at all.
    """
    if part not in CODE_PARTS:
        raise DigestError(f"code part: {part!r} is unknown; known: {', '.join(CODE_PARTS)}")
    base = Path(root)
    found: set[str] = set()
    for entry in CODE_PARTS[part]:
        place = base / entry
        files = place.rglob("*.py") if place.is_dir() else base.glob(entry)
        found.update(file.relative_to(base).as_posix() for file in files)
    found.difference_update(EXCLUDED.get(part, ()))
    if not found:
        raise DigestError(
            f"code part: {part!r} has no sources below {', '.join(CODE_PARTS[part])}; run from the repository"
        )
    return tuple(sorted(found))


def code_digest(root: Path | str, part: str) -> str:
    """`code_sha256` of a part: SHA-256 over `DIGEST  PATH` lines of its sources, line ends normalised to LF.

    The same in every checkout of the same sources, whatever its place, mtimes or line-end settings.

    Raises:
        DigestError: as `code_files`.
    """
    base = Path(root)
    lines = []
    for name in code_files(base, part):
        text = (base / name).read_bytes().replace(b"\r\n", b"\n")
        lines.append(f"{sha256_bytes(text)}  {name}\n")
    return sha256_bytes("".join(lines).encode("utf-8"))
