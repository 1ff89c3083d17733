"""The tables of a suite: runs, summary, main table, comparisons, manifest; as TSV, Markdown and LaTeX.

`build_all` is the one way from results to tables. The workflow writes what it returns, and `c2o verify
--level tables` compares what it returns with what is in a bundle, cell by cell.
"""

from c2o_evidence.tables.build import (
    build_all,
    manifest_rows,
    read_runs,
    read_timing,
    write_manifest,
    write_tables,
)
from c2o_evidence.tables.command import tables_command
from c2o_evidence.tables.compare import build_comparisons, verdict
from c2o_evidence.tables.rows import build_main, build_summary, runs_of
from c2o_evidence.tables.text import main_latex, main_markdown, summary_latex, summary_markdown

__all__ = [
    "build_all",
    "build_comparisons",
    "build_main",
    "build_summary",
    "main_latex",
    "main_markdown",
    "manifest_rows",
    "read_runs",
    "read_timing",
    "runs_of",
    "summary_latex",
    "summary_markdown",
    "tables_command",
    "verdict",
    "write_manifest",
    "write_tables",
]
