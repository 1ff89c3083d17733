"""YAML as plain data: read safely, no key given twice, 1e-3 as the number it is; written so that it is read back."""

import copy
import re
from functools import lru_cache
from pathlib import Path
from reprlib import repr as short
from typing import Any

import yaml

from c2o_evidence.errors import SuiteError
from c2o_evidence.limits import MAX_YAML, MAX_YAML_DEPTH, MAX_YAML_ITEMS, MAX_YAML_NODES, MAX_YAML_NUMBER
from c2o_evidence.plain_file import LIMITS, read_plain

_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff]")
_INT64 = 1 << 63
KEPT = 128  # files whose values are kept, by their bytes
# What PyYAML's constructors raise on a tag whose text is none of its kind (`!!bool x`, `!!float ""`).
_BAD_SCALAR = (ValueError, LookupError, TypeError, AttributeError, OverflowError)


class _Loader(yaml.SafeLoader):  # type: ignore[misc]  # PyYAML ships no types
    """SafeLoader that refuses a key given twice and reads `1e-3` as a float, as YAML 1.2 does."""


class _Dumper(yaml.SafeDumper):  # type: ignore[misc]
    """SafeDumper that puts text in quotes where `_Loader` would read a number."""


for _end in (_Loader, _Dumper):
    _end.add_implicit_resolver(
        "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+"), list("-+0123456789")
    )


def _refuse(node: yaml.Node, what: str) -> yaml.YAMLError:
    return yaml.constructor.ConstructorError(None, None, what, node.start_mark)


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    if any(key_node.tag == "tag:yaml.org,2002:merge" for key_node, _ in node.value):
        # Nested, ten lines of them make 10^9 keys.
        raise _refuse(node, "merge keys (<<) are not read; write the keys out, or use _BASE_ or extends")
    result: dict[Any, Any] = {}
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, str):
            raise _refuse(key_node, f"the key {short(key)} is not text; write it in quotes")
        if key in result:
            raise _refuse(key_node, f"the key {key!r} is given twice")
        result[key] = loader.construct_object(value_node, deep=True)
    return result


def _number(loader: _Loader, node: yaml.ScalarNode) -> Any:
    if len(node.value) > MAX_YAML_NUMBER:  # before it is one: 60-based and hexadecimal numbers know no end
        raise _refuse(node, f"a number of {len(node.value)} characters; {MAX_YAML_NUMBER} are the limit ({LIMITS})")
    if node.tag.endswith(":int"):
        return loader.construct_yaml_int(node)
    return loader.construct_yaml_float(node)


_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)
_Loader.add_constructor("tag:yaml.org,2002:int", _number)
_Loader.add_constructor("tag:yaml.org,2002:float", _number)


def load_yaml(path: Path, name: str) -> Any:
    """Read a YAML file of mappings with text keys, lists, text, numbers, booleans and nulls.

    Args:
        path: the file.
        name: how messages call it, e.g. relative to the repository.

    Raises:
        SuiteError: `NAME:LINE: what is wrong`: missing file, syntax error, a key given twice or not text, a
            value of another kind (dates, tagged objects), too large or too deep a document.
    """
    try:
        data = read_plain(path, MAX_YAML)
    except FileNotFoundError:
        raise SuiteError(f"{name}: does not exist; check the name") from None
    except OSError as error:
        raise SuiteError(f"{name}: cannot be read: {error.strerror}") from error
    return copy.deepcopy(_parsed(data, name))


@lru_cache(maxsize=KEPT)
def _parsed(data: bytes, name: str) -> Any:
    """Suites share their bases, and a hundred experiments one model file: reading the same bytes again is slow."""
    return parse_yaml(data, name)


def parse_yaml(data: bytes | str, name: str) -> Any:
    """The value of a YAML text; see `load_yaml`."""
    try:
        text = data.decode("utf-8") if isinstance(data, bytes) else data
        value = yaml.load(text, Loader=_Loader)  # noqa: S506  (a SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark else ""
        raise SuiteError(f"{name}{line}: {error.problem or error.context}; correct this line") from None
    except (yaml.YAMLError, *_BAD_SCALAR) as error:
        text = " ".join(str(error).split())
        raise SuiteError(f"{name}: is not YAML: {text}; correct the file") from None
    except RecursionError:
        raise SuiteError(f"{name}: is nested too deeply; a configuration has at most {MAX_YAML_DEPTH} levels") from None
    _check_plain(value, name, "", 0, [0])
    return value


def dump_yaml(value: Any, **style: Any) -> str:
    """YAML that `parse_yaml` reads back as the same value; keys stay in order. style: as `yaml.dump` takes it."""
    return str(yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, **style))


def _check_plain(value: Any, name: str, where: str, depth: int, count: list[int]) -> None:
    """Refuse what has no JSON form, and documents that aliases blow up."""
    count[0] += 1
    if count[0] > MAX_YAML_NODES or depth > MAX_YAML_DEPTH:
        raise SuiteError(f"{name}: is too large or nested too deeply; write it without aliases")
    if isinstance(value, (dict, list)) and len(value) > MAX_YAML_ITEMS:
        what = f"has {len(value)} entries, more than the limit of {MAX_YAML_ITEMS} ({LIMITS})"
        raise SuiteError(f"{name}: {where or 'the document'}: {what}")
    if isinstance(value, dict):
        for key, item in value.items():
            _check_text(key, name, where)
            _check_plain(item, name, f"{where}.{key}" if where else key, depth + 1, count)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            _check_plain(item, name, f"{where}[{index}]", depth + 1, count)
    elif isinstance(value, str):
        _check_text(value, name, where)
    elif isinstance(value, int):
        if not -_INT64 <= value < _INT64:
            raise SuiteError(f"{name}: {where}: is no number of 64 bits; use a smaller one")
    elif isinstance(value, float):
        if value != value or value in (float("inf"), float("-inf")):
            raise SuiteError(f"{name}: {where}: {value!r} is not a usable number; use a finite one")
    elif value is not None:
        raise SuiteError(f"{name}: {where}: {short(value)} is a {type(value).__name__}; write text in quotes")


def _check_text(text: str, name: str, where: str) -> None:
    if match := _UNPRINTABLE.search(text):
        what = f"has the control character {match[0]!r} in {text[:60]!r}; remove it"
        raise SuiteError(f"{name}: {where or 'a key'}: {what}")
