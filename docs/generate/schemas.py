"""The pages of suite keys, data keys, and tables and records, from workflow/schemas."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from c2o_evidence.schemas import SCHEMA_DIR, load_schema
from c2o_evidence.tsv import Column, tsv_schema
from docs.generate.markdown import cell, code, table

SUITE = """\
# Suite keys

Written from `workflow/schemas/suite.schema.json` when this site was built. A suite is `configs/suites/NAME.yaml`;
[how to write one](../new-suite.md). Keys with a star must be there, after `extends` has been followed.

"""
DATA = """\
# Data keys

Written from `workflow/schemas/data.schema.json` when this site was built. A data configuration is
`configs/data/NAME.yaml`, of one of four kinds; [how to write one](../own-data.md). Keys with a star must be there.

"""
TABLES = """\
# Tables and records

Written from `workflow/schemas` when this site was built. A TSV is UTF-8 with LF line ends, a header and one line a row;
numbers are written so that they read back to the same bits, an undefined one is `nan`, an absent value an empty cell.
Every file that C2O writes or reads is checked against these.

"""
KINDS = {"digits": "generated", "coco": "in COCO format", "voc": "in VOC layout", "named": "a public set by name"}
JSON_FILES = ("record", "gallery")


def suite_page(root: Path) -> str:
    """Every key of a suite, nested ones below the one that holds them."""
    schema = load_schema("suite")
    parts = [SUITE, _objects("A suite", schema, schema["$defs"])]
    return "\n".join(parts)


def data_page(root: Path) -> str:
    """Every key of a data configuration, by kind."""
    schema = load_schema("data")
    parts = [DATA]
    for option in schema["oneOf"]:
        kind = option["properties"]["kind"]["const"]
        parts.append(_objects(f"kind: {kind} ({KINDS[kind]})", option, schema["$defs"]))
        if option["additionalProperties"]:
            parts.append(
                "Further keys are the generator's: `configs/data/digits.yaml` has them all, each with its meaning.\n"
            )
    return "\n".join(parts)


def tables_page(root: Path) -> str:
    """Every TSV with its columns; the record with its keys."""
    parts = [TABLES]
    for path in sorted(SCHEMA_DIR.glob("*.schema.json")):
        name = path.name.removesuffix(".schema.json")
        if "x-key" in load_schema(name):
            parts.append(_table_of(name))
    for name in JSON_FILES:
        schema = load_schema(name)
        parts.append(_objects(f"{name}.json", schema, schema.get("$defs", {}), cell(schema.get("description", ""))))
    return "\n".join(parts)


def _table_of(name: str) -> str:
    document, schema = load_schema(name), tsv_schema(name)
    about = f"{cell(document.get('description', ''))} A row is named by {', '.join(map(code, schema.key))}."
    if schema.sort:
        about += f" Sorted by {', '.join(map(code, schema.sort))}."
    rows = [_column(code(column.name), column) for column in schema.columns]
    rows += [_column(f"{code(pattern)} (pattern)", column) for pattern, column in schema.extra]
    return f"## {document['title']}: {name}\n\n{about}\n\n{table(('column', 'type', 'what'), rows)}"


def _column(name: str, column: Column) -> tuple[str, str, str]:
    kind = column.kind + (", may be empty" if column.nullable else "")
    if column.choices:
        kind += ": " + ", ".join(map(code, column.choices))
    bounds = [
        f"from {column.minimum:g}" if column.minimum is not None else "",
        f"above {column.exclusive_minimum:g}" if column.exclusive_minimum is not None else "",
        f"to {column.maximum:g}" if column.maximum is not None else "",
    ]
    return name, " ".join([kind, *filter(None, bounds)]), cell(column.description)


def _objects(title: str, schema: dict[str, Any], defs: dict[str, Any], about: str = "") -> str:
    """A table of the object's keys, then a table for each key that holds an object of its own."""
    todo: list[tuple[str, dict[str, Any]]] = [(title, schema)]
    seen: set[str] = set()
    parts = []
    while todo:
        name, node = todo.pop(0)
        if name in seen:
            continue
        seen.add(name)
        rows = []
        for key, value in node.get("properties", {}).items():
            kind, inner = _kind(value, defs)
            what = value.get("description") or _follow(value, defs).get("description", "")
            star = " *" if key in node.get("required", ()) else ""
            if inner is not None:
                where, node_of = inner
                where = where or (key if name == title else f"{name}.{key}")
                todo.append((where, node_of))
                kind += f", see [{where}](#{_anchor(where)})"
            rows.append((f"{code(key)}{star}", kind, cell(what)))
        described = about if name == title else cell(node.get("description", ""))
        parts.append(f"## {name}\n\n{described}\n\n{table(('key', 'type', 'what'), rows)}")
    return "\n".join(parts)


def _anchor(title: str) -> str:
    return title.lower().replace(".", "").replace(" ", "-")


def _follow(node: dict[str, Any], defs: dict[str, Any]) -> dict[str, Any]:
    return defs[node["$ref"].rsplit("/", 1)[-1]] if "$ref" in node else node


def _kind(node: dict[str, Any], defs: dict[str, Any]) -> tuple[str, tuple[str, dict[str, Any]] | None]:
    """What a value is, in words, and the object with keys of its own that it is or holds: its heading ("" for the
    key's own name) and its schema.
    """
    name = node["$ref"].rsplit("/", 1)[-1] if "$ref" in node else ""
    node = _follow(node, defs)
    if "const" in node:
        return code(node["const"]), None
    if "enum" in node:
        return ", ".join(code(str(value)) for value in node["enum"]), None
    if "anyOf" in node:
        kinds = [_kind(option, defs) for option in node["anyOf"]]
        return " or ".join(kind for kind, _ in kinds), next((inner for _, inner in kinds if inner), None)
    if name == "name":
        return "name", None
    types = node.get("type", "any")
    if types == "array":
        kind, inner = _kind(node.get("items", {}), defs)
        return f"list of {kind}", inner
    if types == "object":
        if node.get("properties"):
            return "mapping", (name, node)
        if isinstance(node.get("additionalProperties"), dict):
            kind, inner = _kind(node["additionalProperties"], defs)
            return f"mapping of name to {kind}", inner
        return "mapping", None
    words = {"integer": "int", "number": "float", "string": "text", "boolean": "true, false", "null": "null"}
    told = " or ".join(words.get(each, each) for each in ([types] if isinstance(types, str) else types))
    bounds = [f"{word} {node[key]:,}" for word, key in (("from", "minimum"), ("to", "maximum")) if key in node]
    return " ".join([told, *bounds]), None
