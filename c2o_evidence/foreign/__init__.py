"""Results TSVs that C2O did not write: read strictly, checked, summed up and compared by `c2o stats`."""

from c2o_evidence.foreign.reader import ForeignRuns, Run, read_foreign

__all__ = ["ForeignRuns", "Run", "read_foreign"]
