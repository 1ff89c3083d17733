"""`c2o tables`: makes the tables of a suite from the results that are there, or says which would change."""

from __future__ import annotations

from pathlib import Path

from c2o_evidence.atomic import atomic_write
from c2o_evidence.suite import load_suite
from c2o_evidence.tables.build import build_all, read_runs, read_timing
from c2o_evidence.tables.detail import analyse_runs


def tables_command(suite_name: str, root: Path, *, check: bool) -> int:
    """Writes (or with `check` compares) `results/SUITE/tables`; 1 if `check` finds a table that would
    change.
    """
    suite = load_suite(suite_name, root)
    base = root / "results" / suite.name
    analyses = analyse_runs(base, suite, root / "data" / suite.data_name / "val.json")
    files = build_all(suite, read_runs(base, suite), read_timing(base, suite), analyses)
    changed = []
    for name, text in files.items():
        path = base / "tables" / name
        if not path.is_file() or path.read_bytes() != text.encode("utf-8"):
            changed.append(name)
            if not check:
                atomic_write(path, text)
    if check:
        for name in changed:
            print(f"would change: results/{suite.name}/tables/{name}")
        print("all tables follow from the results" if not changed else f"{len(changed)} of {len(files)} tables differ")
        return 1 if changed else 0
    print(files["summary.md"])
    print(f"{len(changed)} of {len(files)} tables written to results/{suite.name}/tables")
    return 0
