"""Where the JSON schemas are, and what a user reads when a document breaks one."""

import difflib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from c2o_evidence.errors import EvidenceError

MANY = 200  # names, or letters of a name, that a suggestion is looked for among
SCHEMA_DIR = Path(__file__).resolve().parent.parent / "workflow" / "schemas"


@cache
def load_schema(name: str) -> dict[str, Any]:
    """Return `workflow/schemas/NAME.schema.json`. The result is shared: do not change it.

    Raises:
        EvidenceError: there is no such schema, or the file is not JSON.
    """
    path = SCHEMA_DIR / f"{name}.schema.json"
    try:
        schema = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        known = ", ".join(sorted(p.name.removesuffix(".schema.json") for p in SCHEMA_DIR.glob("*.schema.json")))
        raise EvidenceError(
            f"workflow/schemas/{name}.schema.json: does not exist (known: {known or 'none'}); "
            "run from a complete checkout"
        ) from None
    except ValueError as error:
        raise EvidenceError(f"workflow/schemas/{name}.schema.json: is not JSON: {error}; restore the file") from error
    if not isinstance(schema, dict):
        raise EvidenceError(f"workflow/schemas/{name}.schema.json: is not a JSON object; restore the file")
    return schema


@dataclass(frozen=True)
class Fault:
    """Where a document breaks its schema (keys and indices), and how (a message without file and key)."""

    where: tuple[str | int, ...]
    what: str


def schema_faults(document: Any, name: str) -> list[Fault]:
    """All faults of `document` against schema `name`, in document order."""
    validator = _validator()(load_schema(name))
    faults: list[Fault] = []
    for error in validator.iter_errors(document):
        faults.extend(_faults_of(error))
    return sorted(faults, key=lambda fault: ([str(part) for part in fault.where], fault.what))


@cache
def _validator() -> Any:
    """The validator with one change: `$` in a pattern is the end of the text, not also before a last line break."""
    import jsonschema

    def pattern(validator: Any, wanted: str, value: Any, schema: Any) -> Any:
        if validator.is_type(value, "string") and (value.endswith("\n") or not re.search(wanted, value)):
            yield jsonschema.ValidationError(f"{value!r} does not match {wanted!r}")

    return jsonschema.validators.extend(jsonschema.Draft202012Validator, {"pattern": pattern})


def key_text(where: Iterable[str | int]) -> str:
    """`("rows", 2, "label")` as `rows[2].label`."""
    text = ""
    for part in where:
        text += f"[{part}]" if isinstance(part, int) else (f".{part}" if text else part)
    return text


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`did you mean 'x'?`, or the list of what is known when nothing is close."""
    names = sorted(known)
    # difflib compares every letter with every letter: a document made for that would take hours.
    close = difflib.get_close_matches(word, names[:MANY], n=1, cutoff=0.6) if len(word) <= MANY else []
    more = f" and {len(names) - MANY} more" if len(names) > MANY else ""
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(names[:MANY]) or 'none'}{more}"


_TYPES = {
    "object": "a mapping",
    "array": "a list",
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "null": "null",
}


def _faults_of(error: Any) -> list[Fault]:
    """Translate one jsonschema error; some stand for several faults."""
    where = tuple(error.absolute_path)
    kind, wanted, value = error.validator, error.validator_value, error.instance
    if kind == "additionalProperties":
        return _unknown_keys(where, value, error.schema)
    if kind == "required":
        return [Fault((*where, key), "is missing; add it") for key in wanted if key not in value]
    if kind in ("oneOf", "anyOf") and error.context:
        return _closest_branch(error.context)
    return [Fault(where, _what(kind, wanted, value, error))]


def _unknown_keys(where: tuple[str | int, ...], value: dict[str, Any], schema: dict[str, Any]) -> list[Fault]:
    known = list(schema.get("properties", {}))
    patterns = list(schema.get("patternProperties", {}))
    unknown = [k for k in map(str, value) if k not in known and not any(re.search(p, k) for p in patterns)]
    return [Fault((*where, key), f"unknown key; {did_you_mean(key, known)}") for key in unknown]


def _closest_branch(context: list[Any]) -> list[Fault]:
    """The faults of the alternative most likely meant: right `const` and type first, then fewest faults."""
    branches: dict[int, list[Any]] = {}
    for error in context:
        branches.setdefault(error.schema_path[0], []).append(error)
    best = min(
        branches.values(),
        key=lambda errors: (any(e.validator in ("const", "type") for e in errors), len(errors)),
    )
    return [fault for error in best for fault in _faults_of(error)]


def _what(kind: str, wanted: Any, value: Any, error: Any) -> str:
    if kind == "type":
        types = [wanted] if isinstance(wanted, str) else list(wanted)
        return f"{value!r} is not {' or '.join(_TYPES[name] for name in types)}"
    if kind in ("enum", "const"):
        allowed = wanted if kind == "enum" else [wanted]
        return f"{value!r} is not possible; {did_you_mean(str(value), [str(item) for item in allowed])}"
    if kind in ("pattern", "propertyNames"):
        return f"{value!r} {error.schema.get('x-hint', 'does not have the needed form')}"
    if kind == "uniqueItems":
        twice = next(item for index, item in enumerate(value) if item in value[:index])
        return f"{twice!r} is listed twice; list it once"
    if kind in ("minItems", "minProperties"):
        return f"has {len(value)} entries; {wanted} or more are needed"
    if kind == "minLength":
        return "is empty; write a value"
    if kind == "minimum" and wanted == 0:
        return f"{value!r} is negative; use 0 or more"
    if kind in _BOUNDS:
        return f"{value!r} is out of range; use a value {_BOUNDS[kind]} {wanted}"
    return str(error.message)


_BOUNDS = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}
