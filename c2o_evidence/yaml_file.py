"""Reading YAML as plain data: safe, no key given twice, and 1e-3 read as the number it is."""

import re
from pathlib import Path
from typing import Any

import yaml

from c2o_evidence.errors import SuiteError

MAX_BYTES = 4 << 20
MAX_NODES = 200_000
MAX_DEPTH = 60


class _Loader(yaml.SafeLoader):  # type: ignore[misc]  # PyYAML ships no types
    """SafeLoader that refuses a key given twice and reads `1e-3` as a float, as YAML 1.2 does."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+"), list("-+0123456789")
)


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    loader.flatten_mapping(node)
    result: dict[Any, Any] = {}
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, str):
            mark = key_node.start_mark
            raise yaml.constructor.ConstructorError(
                None, None, f"the key {key!r} is not text; write it in quotes", mark
            )
        if key in result:
            mark = key_node.start_mark
            raise yaml.constructor.ConstructorError(None, None, f"the key {key!r} is given twice", mark)
        result[key] = loader.construct_object(value_node, deep=True)
    return result


_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)


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
        data = path.read_bytes()
    except FileNotFoundError:
        raise SuiteError(f"{name}: does not exist; check the name") from None
    except OSError as error:
        raise SuiteError(f"{name}: cannot be read: {error.strerror}") from error
    if len(data) > MAX_BYTES:
        raise SuiteError(f"{name}: has {len(data)} bytes; a configuration has at most {MAX_BYTES}")
    return parse_yaml(data, name)


def parse_yaml(data: bytes | str, name: str) -> Any:
    """The value of a YAML text; see `load_yaml`."""
    try:
        value = yaml.load(data, Loader=_Loader)  # noqa: S506  (a SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark else ""
        raise SuiteError(f"{name}{line}: {error.problem or error.context}; correct this line") from None
    except (yaml.YAMLError, UnicodeDecodeError, ValueError) as error:
        text = " ".join(str(error).split())
        raise SuiteError(f"{name}: is not YAML: {text}; correct the file") from None
    except RecursionError:
        raise SuiteError(f"{name}: is nested too deeply; a configuration has at most {MAX_DEPTH} levels") from None
    _check_plain(value, name, "", 0, [0])
    return value


def _check_plain(value: Any, name: str, where: str, depth: int, count: list[int]) -> None:
    """Refuse what has no JSON form, and documents that aliases blow up."""
    count[0] += 1
    if count[0] > MAX_NODES or depth > MAX_DEPTH:
        raise SuiteError(f"{name}: is too large or nested too deeply; write it without aliases")
    if isinstance(value, dict):
        for key, item in value.items():
            _check_plain(item, name, f"{where}.{key}" if where else key, depth + 1, count)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            _check_plain(item, name, f"{where}[{index}]", depth + 1, count)
    elif isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        raise SuiteError(f"{name}: {where}: {value!r} is not a usable number; use a finite one")
    elif not (value is None or isinstance(value, (bool, int, float, str))):
        raise SuiteError(f"{name}: {where}: {value!r} is a {type(value).__name__}; write text in quotes")
