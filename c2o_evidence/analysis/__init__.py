"""What detections do right and wrong, beyond AP: precision over recall, confused classes, kinds of errors.

`analyse` is the one way from the stored detections of a run to these numbers. The rule `tables` and `c2o verify --level
tables` both go it, and c2o_evidence.tables makes the tables of a suite from what it returns.
"""

from c2o_evidence.analysis.confusion import BACKGROUND, MISSED
from c2o_evidence.analysis.error_types import KINDS
from c2o_evidence.analysis.precision_recall import IOUS, RECALLS
from c2o_evidence.analysis.run import RunAnalysis, analyse

__all__ = [
    "BACKGROUND",
    "IOUS",
    "KINDS",
    "MISSED",
    "RECALLS",
    "RunAnalysis",
    "analyse",
]
