"""What is never replayed: a bundle is foreign, and its configuration is to be data, not a way to other files.

Names become paths, so they have to be plain. A configuration value may not name a file: what a training starts from
comes from the suite's chain, where it writes is the workflow's business.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from c2o_evidence.errors import EvidenceError
from c2o_evidence.verify.findings import Finding
from c2o_evidence.verify.records import DATA
from c2o_evidence.verify.replay.source import Source, config_path

PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")  # as the workflow's wildcards have them
FILE_KEY = re.compile(r"(WEIGHTS|OUTPUT_DIR|PATH|ROOT|_FILES?|_FILES_\w+|_DIRS?)$", re.IGNORECASE)
NO_FILES = ("", "package")  # `package`: weights that come with an installed package, read by the detector itself
PATH_LIKE = re.compile(r"[/\\~$]|\.\.|[\x00-\x1f\x7f]")


def refusals(source: Source) -> list[Finding]:
    """Why a bundle is not replayed; empty where it may be."""
    return [*_names(source), *_data(source), *_configs(source)]


def _names(source: Source) -> Iterator[Finding]:
    suite = source.suite
    names = {"name": suite.name, "data_config.name": suite.data_name}
    names |= {f"experiments.{name}": name for name in suite.needed}
    for column, name in names.items():
        if not PLAIN_NAME.fullmatch(name):
            yield Finding("unsafe", "suite.yaml", "is no plain name, so no path is made of it", "", column, "", name)


def _data(source: Source) -> Iterator[Finding]:
    try:
        source.data_files()
    except EvidenceError as error:
        yield Finding("unsafe", DATA, str(error).removeprefix(f"{DATA}: "))


def _configs(source: Source) -> Iterator[Finding]:
    for experiment in source.suite.needed:
        first: Any = None
        for seed in source.suite.seeds_of(experiment):
            path = config_path(experiment, seed)
            try:
                config = source.config(experiment, seed)
            except EvidenceError as error:
                yield Finding("malformed", path, str(error))
                continue
            if not isinstance(config, dict):
                yield Finding("malformed", path, "is not a configuration")
                continue
            for key, value in _file_values(config, ""):
                yield Finding("unsafe", path, "names a file or directory; it is not used", "", key, "", repr(value))
            first = config if first is None else first
            if config != first:
                other = config_path(experiment, source.suite.seeds_of(experiment)[0])
                yield Finding("stale", path, f"is not the configuration of {other}, of the same experiment")


def _file_values(value: Any, key: str) -> Iterator[tuple[str, Any]]:
    """Keys whose value is, or looks like, a path."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            inner = f"{key}.{name}" if key else name
            if "_BASE_" in name.split("."):
                yield inner, item
            else:
                yield from _file_values(item, inner)
    elif isinstance(value, list):
        for item in value:
            yield from _file_values(item, key)
    elif isinstance(value, str) and value not in NO_FILES and (FILE_KEY.search(key) or PATH_LIKE.search(value)):
        yield key, value
