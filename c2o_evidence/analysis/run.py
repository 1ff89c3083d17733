"""Everything that is counted in the detections of one run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from c2o_evidence.analysis.confusion import Pair, confusion
from c2o_evidence.analysis.error_types import error_types
from c2o_evidence.analysis.precision_recall import precision_curves
from c2o_evidence.analysis.scenes import Scenes
from c2o_evidence.detections import Detections
from c2o_evidence.metrics import GroundTruth


@dataclass(frozen=True)
class RunAnalysis:
    """What the detections of one run do right and wrong.

    Attributes:
        precision: at each of RECALLS, by IoU of IOUS.
        confusion: how often each (true class, predicted class) is there.
        errors: how many errors of each kind there are.
        images: of the data set.
    """

    precision: Mapping[float, tuple[float, ...]]
    confusion: Mapping[Pair, int]
    errors: Mapping[str, int]
    images: int


class Analyst:
    """Ground truth and classes, indexed once for the runs of many checkpoints."""

    def __init__(self, truth: GroundTruth, class_names: Sequence[str]) -> None:
        self.truth, self.class_names = truth, tuple(class_names)
        self._scenes = Scenes(truth, self.class_names)

    def analyse(self, detections: Detections) -> RunAnalysis:
        """See `analyse`."""
        curves = precision_curves(self.truth, detections, self.class_names)
        scenes = list(self._scenes.of(detections))
        return RunAnalysis(
            precision=curves,
            confusion=confusion(scenes, self.class_names, self._scenes.n_objects),
            errors=error_types(scenes, self._scenes.n_objects),
            images=self._scenes.n_images,
        )


def analyse(truth: GroundTruth, detections: Detections, class_names: Sequence[str] | None = None) -> RunAnalysis:
    """What is in the detections of one run.

    Args:
        class_names: category names in label order; default: the file's categories by ascending id.

    Raises:
        TableError: the annotation file does not know a class or an image of the detections.
    """
    return Analyst(truth, class_names if class_names is not None else truth.class_names).analyse(detections)
