"""Adoption: results that were copied, moved or taken from a bundle count as made, after all of them were checked.

Snakemake takes for current whatever lies there without a note of it. `check_suite` compares every job's record with
what the suite and the sources are now and with the bytes that lie there; `c2o adopt` then has Snakemake's notes
written (workflow/notes.py), so that nothing trains again and a later edit re-runs what depends on it.
"""

from c2o_evidence.adopt.check import Verdict, check_suite
from c2o_evidence.adopt.jobs import SuiteJob, suite_jobs

__all__ = ["SuiteJob", "Verdict", "check_suite", "suite_jobs"]
