"""Reading suite files: `extends`, the schema, and what a schema cannot say (names, files, cycles)."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from c2o_evidence.errors import SuiteError
from c2o_evidence.limits import MAX_RUNS, MAX_TRAININGS
from c2o_evidence.model_config import deep_merge
from c2o_evidence.plain_file import LIMITS
from c2o_evidence.schemas import Fault, did_you_mean, key_text, schema_faults
from c2o_evidence.suite import Suite
from c2o_evidence.suite_arms import arm_faults, expand_arms
from c2o_evidence.suite_gallery import GallerySpec, gallery_faults
from c2o_evidence.suite_reduced import SUFFIX, reduce_document
from c2o_evidence.suite_selection import selection_faults
from c2o_evidence.suite_spec import (
    AttentionSpec,
    Comparison,
    Experiment,
    MainRow,
    Selection,
    Speedup,
    SuiteRow,
    TimingSpec,
    Tolerances,
)
from c2o_evidence.suite_stack import stack_faults
from c2o_evidence.tsv import text_fault
from c2o_evidence.yaml_file import load_yaml

SUITES = "configs/suites"
NEEDED = ("dataset", "train_seeds", "eval_seeds", "experiments", "rows")  # but where there is only `attention`
_Path = tuple[str | int, ...]


class _Source:
    """A merged document that knows which file each key came from, so that a message names the right one."""

    def __init__(self) -> None:
        self.document: dict[str, Any] = {}
        self._origin: dict[_Path, str] = {}

    def lay(self, document: Mapping[str, Any], name: str) -> None:
        self.document = deep_merge(self.document, document)
        self._mark(document, name, ())
        self._origin[()] = name

    def _mark(self, value: Any, name: str, where: _Path) -> None:
        self._origin[where] = name
        if isinstance(value, Mapping):
            for key, item in value.items():
                self._mark(item, name, (*where, key))

    def error(self, where: Iterable[str | int], what: str) -> SuiteError:
        path = tuple(where)
        key = key_text(path)
        while path not in self._origin:
            path = path[:-1]
        return SuiteError(f"{self._origin[path]}: {key}: {what}" if key else f"{self._origin[path]}: {what}")

    def refuse(self, faults: list[Fault]) -> None:
        if faults:
            raise self.error(faults[0].where, faults[0].what)


def read_suite(name_or_path: str | Path, root: Path) -> Suite:
    """See `load_suite`."""
    root = root.resolve()
    path, is_reduced = _find(name_or_path, root)
    source = _Source()
    *bases, own = _chain(path, root, ())
    for document, name in bases:
        source.lay({key: value for key, value in document.items() if key != "name"}, name)
    source.lay(*own)
    document = source.document
    name = _name(path, root)
    document.pop("extends", None)
    source.refuse(_schema_faults(document))
    if document["name"] != path.stem:
        raise source.error(["name"], f"{document['name']!r} is not the file's name; write {path.stem!r}")
    document = source.document = _complete(document, is_reduced, source, name)
    _check_files(document, source, root)
    data_config = _read_data(document["dataset"], source, root) if "dataset" in document else {}
    if isinstance(document.get("main_table"), str):
        document["main_table"] = _read_main_table(document["main_table"], source, root)
    _check_meaning(document, source)
    source.refuse(gallery_faults(document, data_config))
    return _build(document, data_config, name, root)


def read_resolved(path: Path) -> Suite:
    """See `load_resolved_suite`."""
    document = load_yaml(path, str(path))
    source = _Source()
    if not isinstance(document, dict):
        raise SuiteError(f"{path}: holds {type(document).__name__}, not a mapping; restore the file")
    source.lay(document, str(path))
    data_config = document.pop("data_config", None if "dataset" in document else {})
    if "dataset" in document:
        source.refuse([Fault(("data_config", *f.where), f.what) for f in schema_faults(data_config, "data")])
    source.refuse(_schema_faults(document))
    _check_meaning(document, source)
    source.refuse(gallery_faults(document, data_config))
    return _build(document, data_config, str(path), None)


def _schema_faults(document: Mapping[str, Any]) -> list[Fault]:
    """Faults against the schema, and what is missing of a suite that is not an attention benchmark alone."""
    faults = schema_faults(document, "suite")
    given = [key for key in (*NEEDED, "arms") if key in document]
    if given or "attention" not in document:
        needed = NEEDED if "arms" not in document else tuple(key for key in NEEDED if key != "rows")
        faults += [Fault((key,), "is missing; add it") for key in needed if key not in document]
    return sorted(faults, key=lambda fault: [str(part) for part in fault.where])


def _complete(document: dict[str, Any], is_reduced: bool, source: _Source, name: str) -> dict[str, Any]:
    """The document with its arms written out and, for `NAME_reduced`, its `reduced` section put in."""
    if "arms" in document:
        source.refuse(arm_faults(document))
        document = expand_arms(document)
    reduced = document.pop("reduced", None)
    if not is_reduced:
        return document
    if reduced is None:
        raise source.error(["reduced"], f"is missing, so there is no {document['name']}{SUFFIX}; add it")
    whole = _Source()
    whole.lay(document, name)
    whole.lay({**reduce_document(document, reduced), "name": f"{document['name']}{SUFFIX}"}, f"{name} (reduced)")
    if title := document.get("title"):
        whole.document["title"] = f"{title} (reduced budget: its numbers mean nothing)"
    whole.refuse(_schema_faults(whole.document))
    return whole.document


def _find(name_or_path: str | Path, root: Path) -> tuple[Path, bool]:
    """The file of a suite, and whether its reduced form is asked for."""
    text = os.fspath(name_or_path)
    if not text.endswith((".yaml", ".yml")) and "/" not in text:
        path = root / SUITES / f"{text}.yaml"
        full = root / SUITES / f"{text.removesuffix(SUFFIX)}.yaml"
        if not path.is_file() and full.is_file():
            return full, True
        if not path.is_file():
            known = sorted(file.stem for file in (root / SUITES).glob("*.yaml"))
            raise SuiteError(f"{SUITES}/{text}.yaml: does not exist; {did_you_mean(text, known)}")
        return path, False
    path = Path(text)
    path = path if path.is_absolute() or not (root / path).exists() else root / path
    if not path.resolve().is_relative_to(root):
        raise SuiteError(f"{text}: is outside the repository; copy it to {SUITES}/")
    return path.resolve(), False


def _chain(path: Path, root: Path, above: tuple[Path, ...]) -> list[tuple[dict[str, Any], str]]:
    """The documents that make up a suite, the most basic one first."""
    name = _name(path, root)
    if path in above:
        cycle = " -> ".join(p.stem for p in (*above[above.index(path) :], path))
        raise SuiteError(f"{_name(above[-1], root)}: extends: forms a cycle {cycle}; remove one of them")
    document = load_yaml(path, name)
    if not isinstance(document, dict):
        raise SuiteError(f"{name}: holds {type(document).__name__}, not a mapping of keys; see {SUITES}/")
    base = document.get("extends")
    if base is None:
        return [(document, name)]
    # A path (from the repository's root) is a file with parts of suites, which is no suite itself.
    below = root / base if isinstance(base, str) and "/" in base else path.with_name(f"{base}.yaml")
    if not isinstance(base, str) or not below.is_file() or not below.resolve().is_relative_to(root):
        known = sorted(file.stem for file in path.parent.glob("*.yaml") if file != path)
        raise SuiteError(f"{name}: extends: {base!r} is not a suite; {did_you_mean(str(base), known)}")
    return [*_chain(below, root, (*above, path)), (document, name)]


def _check_files(document: Mapping[str, Any], source: _Source, root: Path) -> None:
    for name, spec in document.get("experiments", {}).items():
        _check_file(spec["model"], ["experiments", name, "model"], source, root)


def _check_file(text: str, where: list[str | int], source: _Source, root: Path) -> Path:
    path = root / text
    if os.path.isabs(text) or not path.resolve().is_relative_to(root):
        raise source.error(where, f"{text} is outside the repository; use a path relative to it")
    if not path.is_file():
        near = [_name(file, root) for file in path.parent.glob("*.yaml")] if path.parent.is_dir() else []
        hint = did_you_mean(text, near) if near else "correct the path"
        raise source.error(where, f"{text} does not exist; {hint}")
    return path


def _read_data(text: str, source: _Source, root: Path) -> dict[str, Any]:
    path = _check_file(text, ["dataset"], source, root)
    document = load_yaml(path, text)
    data = _Source()
    data.lay(document if isinstance(document, dict) else {}, text)
    data.refuse(schema_faults(document, "data"))
    if document["name"] != path.stem:
        raise data.error(["name"], f"{document['name']!r} is not the file's name; write {path.stem!r}")
    result: dict[str, Any] = document
    return result


def _read_main_table(text: str, source: _Source, root: Path) -> list[dict[str, Any]]:
    path = _check_file(text, ["main_table"], source, root)
    rows = load_yaml(path, text)
    if not isinstance(rows, list):
        raise SuiteError(f"{text}: holds {type(rows).__name__}, not a list of rows; see the suite's main_table")
    table = _Source()
    table.lay({}, text)
    # Checked as a part of a suite, so that the rows have one schema.
    skeleton = {"main_table": rows}
    faults = [f for f in schema_faults(skeleton, "suite") if f.where[:1] == ("main_table",) and len(f.where) > 1]
    table.refuse([Fault(f.where[1:], f.what) for f in faults])
    return rows


def _check_meaning(document: Mapping[str, Any], source: _Source) -> None:
    """What ties the parts of a suite together."""
    experiments: Mapping[str, Any] = document.get("experiments", {})
    for name, spec in experiments.items():
        for key in ("init", "teacher"):
            parent = spec.get(key)
            if parent is None:
                continue
            if parent not in experiments:
                raise source.error(
                    ["experiments", name, key],
                    _unknown_experiment(parent, experiments),
                )
            if spec.get("shared") and not experiments[parent].get("shared"):
                raise source.error(
                    ["experiments", name, key],
                    f"{parent!r} is trained for each train seed, but {name!r} is shared; make both shared",
                )
    _check_cycles(experiments, source)
    rows: dict[str, Any] = {}
    for index, row in enumerate(document.get("rows", ())):
        if row["exp_id"] in rows:
            raise source.error(["rows", index, "exp_id"], f"{row['exp_id']!r} is listed twice; give each row its own")
        if row["experiment"] not in experiments:
            raise source.error(
                ["rows", index, "experiment"],
                _unknown_experiment(row["experiment"], experiments),
            )
        rows[row["exp_id"]] = row
    source.refuse(selection_faults(document))
    source.refuse(stack_faults(document))
    for section, keys in (
        ("main_table", ("exp_id",)),
        ("comparisons", ("a", "b")),
        ("speedups", ("fast", "slow")),
    ):
        for index, item in enumerate(document.get(section) or ()):
            for key in keys:
                if item[key] not in rows:
                    raise source.error(
                        [section, index, key], f"{item[key]!r} is not a row; {did_you_mean(item[key], rows)}"
                    )
            if len(keys) == 2 and item[keys[0]] == item[keys[1]]:
                raise source.error([section, index], f"{item[keys[0]]!r} is set against itself; name two rows")
    for index, item in enumerate(document.get("comparisons") or ()):
        for key in ("a", "b"):
            if experiments[rows[item[key]]["experiment"]].get("shared"):
                raise source.error(
                    ["comparisons", index, key],
                    f"{item[key]!r} has one train seed only, nothing can be paired; remove it",
                )
    _check_printed(document, source)
    _check_size(document, source)
    timing = document.get("timing")
    if timing and not rows:
        raise source.error(["timing"], "there are no rows to time; remove it")
    if timing and timing["train_seed"] not in document["train_seeds"]:
        raise source.error(
            ["timing", "train_seed"],
            f"{timing['train_seed']} is not one of train_seeds {document['train_seeds']}",
        )
    _check_tolerances(document, source)


def _check_tolerances(document: Mapping[str, Any], source: _Source) -> None:
    """Each tolerance covers what the one before it does, and more; `train_mean` is of means, which move less."""
    tolerances: Mapping[str, Mapping[str, float]] = document.get("tolerances") or {}
    if tolerances and not document.get("rows"):
        raise source.error(["tolerances"], "there are no rows to replay; remove it")
    for low, high, why in (
        ("eval", "train", "what is trained again is evaluated again too"),
        ("train_mean", "train", "a mean over runs moves less than a run"),
    ):
        above = tolerances.get(high, {})
        for metric, value in tolerances.get(low, {}).items():
            if value > above.get(metric, 0):
                raise source.error(
                    ["tolerances", low, metric],
                    f"{value} is more than the {above.get(metric, 0)} of tolerances.{high}; {why}: raise that, "
                    "or lower this",
                )


def _check_printed(document: Mapping[str, Any], source: _Source) -> None:
    """What becomes a cell or a heading is one line of text, and no formula."""
    texts: list[tuple[list[str | int], Any]] = [(["title"], document.get("title"))]
    for section, keys in (
        ("rows", ("label",)),
        ("main_table", ("method", "type", "backbone", "epochs", "notes")),
        ("comparisons", ("claim",)),
    ):
        for index, item in enumerate(document.get(section) or ()):
            texts += [([section, index, key], item.get(key)) for key in keys]
            selected = item.get("selected", {}) if section == "rows" else {}
            texts += [([section, index, "selected", key], selected.get(key)) for key in ("what", "chosen_on")]
    for where, text in texts:
        if isinstance(text, str) and (fault := text_fault(text)):
            raise source.error(where, f"{text[:100]!r} {fault}")


def _check_size(document: Mapping[str, Any], source: _Source) -> None:
    trainings = len(document.get("experiments", ())) * len(document.get("train_seeds", ()))
    runs = len(document.get("rows", ())) * len(document.get("train_seeds", ())) * len(document.get("eval_seeds", ()))
    for what, count, most in (("trainings", trainings, MAX_TRAININGS), ("runs", runs, MAX_RUNS)):
        if count > most:
            raise source.error(["train_seeds"], f"gives {count} {what}, more than the limit of {most} ({LIMITS})")


def _unknown_experiment(name: str, known: Iterable[str]) -> str:
    return f"{name!r} is not an experiment of this suite; {did_you_mean(name, known)}"


def _check_cycles(experiments: Mapping[str, Any], source: _Source) -> None:
    done: set[str] = set()

    def visit(name: str, above: tuple[str, ...]) -> None:
        if name in above:
            cycle = " -> ".join((*above[above.index(name) :], name))
            raise source.error(["experiments", name], f"init and teacher form a cycle {cycle}; remove one of them")
        if name not in done:
            for key in ("init", "teacher"):
                if experiments[name].get(key) is not None:
                    visit(experiments[name][key], (*above, name))
            done.add(name)

    for name in experiments:
        visit(name, ())


def _build(document: Mapping[str, Any], data_config: Mapping[str, Any], path: str, root: Path | None) -> Suite:
    timing, attention = document.get("timing"), document.get("attention")
    of_all = {key: document[key] for key in ("processes",) if key in document}
    return Suite(
        name=document["name"],
        path=path,
        root=root,
        title=document.get("title", ""),
        description=document.get("description", ""),
        dataset=document.get("dataset", ""),
        data_config=data_config,
        train_seeds=tuple(document.get("train_seeds", ())),
        eval_seeds=tuple(document.get("eval_seeds", ())),
        experiments={
            name: Experiment(name=name, **{**of_all, **spec}) for name, spec in document.get("experiments", {}).items()
        },
        rows=tuple(_row(row) for row in document.get("rows", ())),
        main_table=tuple(_main_row(row) for row in document.get("main_table") or ()),
        comparisons=tuple(Comparison(**item) for item in document.get("comparisons") or ()),
        speedups=tuple(Speedup(**item) for item in document.get("speedups") or ()),
        timing=TimingSpec(**timing) if timing else None,
        attention=AttentionSpec(**{**attention, "nodes": tuple(attention["nodes"])}) if attention else None,
        gallery=GallerySpec.of(document.get("gallery")),
        tolerances=Tolerances(**document["tolerances"]) if "tolerances" in document else None,
    )


def _row(row: Mapping[str, Any]) -> SuiteRow:
    selected = Selection(**row["selected"]) if "selected" in row else None
    return SuiteRow(**{"label": row["exp_id"], **row, "selected": selected})


def _main_row(row: Mapping[str, Any]) -> MainRow:
    return MainRow(**{**row, "epochs": str(row["epochs"]), "notes": row.get("notes") or ""})


def _name(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)
