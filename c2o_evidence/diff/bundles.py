"""Two bundles: their identity, suites, rows, checkpoints with the reasons why they differ, timings, files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from c2o_evidence.diff.sides import Bundle
from c2o_evidence.diff.tables import diff_tables
from c2o_evidence.diff.verdicts import RowDiff, Section, Verdict, section
from c2o_evidence.errors import RecordError
from c2o_evidence.records import Record, parse_record
from c2o_evidence.tsv import parse_tsv
from c2o_evidence.yaml_file import parse_yaml

MODEL = "model.safetensors"
# What tells the items of a list in a suite apart.
_NAMES = (("exp_id",), ("a", "b"), ("fast", "slow"))


def diff_bundles(a: Bundle, b: Bundle) -> list[Section]:
    """The sections of the comparison, in the order that they are read."""
    sections = [_identity(a, b), _suite(a, b)]
    for title, path, kind in (("results", "tables/runs.tsv", "results"), ("timing", "timing/timing.tsv", "timing")):
        texts = a.read(path), b.read(path)
        if texts[0] is not None and texts[1] is not None:
            left, right = (text.decode("utf-8", "surrogateescape") for text in texts if text is not None)
            sections.append(diff_tables(kind, left, right, (f"{a.name}/{path}", f"{b.name}/{path}"), title))
        elif texts != (None, None):
            verdict: Verdict = "removed" if texts[1] is None else "added"
            sections.append(section(title, [RowDiff(path, verdict)]))
        if title == "results":
            sections += [_comparisons(a, b), _checkpoints(a, b)]
    for item in sections:
        if item.title == "timing":
            _judge_timing(item)
    sections.append(_files(a, b))
    return [item for item in sections if item.counts or item.facts or item.rows]


def _judge_timing(timing: Section) -> None:
    """Another machine has other times: that is said, and is no difference of the evidence."""
    if timing.verdict == "not comparable":
        timing.decides = False
        timing.facts = [*timing.facts, "the times are not compared, and do not count for the whole"]


def _identity(a: Bundle, b: Bundle) -> Section:
    same = a.root_digest == b.root_digest
    facts = [f"{side}: root digest {bundle.root_digest}, {bundle.frozen}" for side, bundle in (("A", a), ("B", b))]
    return Section("identity", "identical" if same else "differs", facts=facts, decides=False)


# The suite and its configurations, key by key.


def _suite(a: Bundle, b: Bundle) -> Section:
    rows = [*_changes(_document(a, "suite.yaml"), _document(b, "suite.yaml"), "")]
    configs: dict[tuple[str, str, str], list[str]] = {}
    for path in sorted(set(_trainings(a)) & set(_trainings(b))):
        config = path.replace(MODEL, "config.yaml")
        if a.listed.get(config) != b.listed.get(config):
            experiment, seed = path.split("/")[1:3]
            for row in _changes(_document(a, config), _document(b, config), ""):
                configs.setdefault((experiment, row.row, row.says[0]), []).append(seed)
    for (experiment, key, says), seeds in configs.items():
        rows.append(RowDiff(f"configuration of {experiment}: {key}", "differs", (says, f"in {', '.join(seeds)}")))
    return section("suite", rows, facts=() if rows else ("the same suite and configurations",), decides=False)


def _document(bundle: Bundle, path: str) -> Any:
    data = bundle.read(path)
    return {} if data is None else parse_yaml(data, f"{bundle.name}/{path}")


def _changes(a: Any, b: Any, where: str) -> Iterator[RowDiff]:
    left, right = dict(_leaves(a, where)), dict(_leaves(b, where))
    for key in [*left, *(key for key in right if key not in left)]:
        if left.get(key, _ABSENT) != right.get(key, _ABSENT) or type(left.get(key)) is not type(right.get(key)):
            yield RowDiff(key, "differs", (f"{_plain(left.get(key, _ABSENT))} -> {_plain(right.get(key, _ABSENT))}",))


_ABSENT = object()


def _plain(value: Any) -> str:
    return "absent" if value is _ABSENT else repr(value)


def _leaves(value: Any, where: str) -> Iterator[tuple[str, Any]]:
    """`key.key` or `key[name]` and value of all that is no mapping and no list of mappings."""
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from _leaves(item, f"{where}.{key}" if where else str(key))
    elif isinstance(value, list) and value and all(isinstance(item, Mapping) for item in value):
        seen: dict[str, int] = {}
        names = []
        for item in value:
            name = _name(item)
            seen[name] = seen.get(name, 0) + 1
            names.append(name if seen[name] == 1 else f"{name} #{seen[name]}")
            yield from _leaves(item, f"{where}[{names[-1]}]")
        yield f"{where} (order)", names
    else:
        yield where, value


def _name(item: Mapping[str, Any]) -> str:
    for keys in _NAMES:
        if all(key in item for key in keys):
            return " - ".join(str(item[key]) for key in keys)
    return "item"


# What the comparisons of the suite show.


def _comparisons(a: Bundle, b: Bundle) -> Section:
    path = "tables/comparisons.tsv"
    texts = [bundle.read(path) for bundle in (a, b)]
    if texts[0] is None or texts[1] is None:
        return Section("comparisons", "identical", decides=False)
    tables = []
    for bundle, data in zip((a, b), texts, strict=True):
        rows = parse_tsv((data or b"").decode("utf-8", "surrogateescape"), "comparisons", f"{bundle.name}/{path}")
        tables.append({(row["a"], row["b"], row["metric"]): row for row in rows})
    left, right = tables
    found = []
    for key in [*left, *(key for key in right if key not in left)]:
        name = f"{key[0]} - {key[1]} ({key[2]})"
        if key not in right or key not in left:
            found.append(RowDiff(name, "removed" if key in left else "added"))
        elif left[key]["holds"] != right[key]["holds"]:
            claim = f" ({left[key]['claim']})" if left[key]["claim"] else ""
            found.append(RowDiff(name, "differs", (f"holds: {left[key]['holds']} -> {right[key]['holds']}{claim}",)))
        elif repr(left[key]) == repr(right[key]):
            found.append(RowDiff(name, "identical"))
        else:
            difference = f"difference {left[key]['mean_diff']:+.2f} -> {right[key]['mean_diff']:+.2f}"
            found.append(RowDiff(name, "differs", (f"holds: {left[key]['holds']}, as before", difference)))
    return section("comparisons", found, decides=False)


# Checkpoints, and what the records say about those that differ.


def _trainings(bundle: Bundle) -> list[str]:
    return [
        path
        for path in bundle.listed
        if path.startswith("train/") and path.endswith(f"/{MODEL}") and path.count("/") == 3
    ]


def _checkpoints(a: Bundle, b: Bundle) -> Section:
    left, right = _trainings(a), set(_trainings(b))
    rows = []
    for path in left:
        if path not in right:
            rows.append(RowDiff(path, "removed"))
        elif a.listed[path] == b.listed[path]:
            rows.append(RowDiff(path, "identical"))
        else:
            rows.append(RowDiff(path, "differs", tuple(_reasons(a, b, path))))
    known = set(left)
    rows += [RowDiff(path, "added") for path in sorted(right) if path not in known]
    return section("checkpoints", rows, decides=False)


def _reasons(a: Bundle, b: Bundle, path: str) -> Iterator[str]:
    """Why a checkpoint is another one, as far as the records of its training tell."""
    config = path.replace(MODEL, "config.yaml")
    reasons = []
    if a.listed.get(config) != b.listed.get(config) and any(_changes(_document(a, config), _document(b, config), "")):
        reasons.append("config: another configuration")
    left, right = (_record(bundle, path.replace(MODEL, "record.json")) for bundle in (a, b))
    if left is None or right is None:
        yield from [*reasons, f"{'A' if left is None else 'B'} has no record of the training that can be read"]
        return
    for what, before, now in (
        ("code", left.code_sha256, right.code_sha256),
        ("environment lock", left.lock_sha256, right.lock_sha256),
    ):
        if before != now:
            reasons.append(f"{what}: {_digits(before)} -> {_digits(now)}")
    materials = [{file.name: file.sha256 for file in record.materials} for record in (left, right)]
    for name in sorted({*materials[0], *materials[1]}):
        if materials[0].get(name) != materials[1].get(name):
            what = "data" if name == "data" else f"started from another checkpoint ({name})"
            reasons.append(f"{what}: {_digits(materials[0].get(name))} -> {_digits(materials[1].get(name))}")
    hardware = [str(record.host["hardware_id"]) for record in (left, right)]
    if hardware[0] != hardware[1]:
        reasons.append(f"hardware: {hardware[0]} -> {hardware[1]}")
    tools = left.tools, right.tools
    versions = [f"{n} {tools[0].get(n)} -> {tools[1].get(n)}" for n in tools[0] if tools[0].get(n) != tools[1].get(n)]
    if versions:
        reasons.append(f"tools: {', '.join(versions)}")
    if not reasons:
        unsteady = sorted({*left.nondeterminism, *right.nondeterminism})
        known = f"; not deterministic by their own word: {', '.join(unsteady)}" if unsteady else ""
        reasons.append(f"no reason in the records: same config, code, data, environment lock and hardware{known}")
    yield from reasons


def _record(bundle: Bundle, path: str) -> Record | None:
    data = bundle.read(path)
    try:
        return None if data is None else parse_record(data, f"{bundle.name}/{path}")
    except RecordError:
        return None


def _digits(value: Any) -> str:
    return "none" if value is None else str(value)[:12]


def _files(a: Bundle, b: Bundle) -> Section:
    """All files by their listed digests."""

    def rows() -> Iterator[RowDiff]:
        for path, digest in a.listed.items():
            if path not in b.listed:
                yield RowDiff(path, "removed")
            else:
                yield RowDiff(path, "identical" if b.listed[path] == digest else "differs")
        for path in b.listed:
            if path not in a.listed:
                yield RowDiff(path, "added")

    return section("files", rows(), decides=False)


def decided_by(sections: Sequence[Section]) -> list[Section]:
    """The sections that the verdict of the whole follows from."""
    return [item for item in sections if item.decides]
