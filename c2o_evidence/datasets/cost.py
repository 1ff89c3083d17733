"""How long a set's annotations and pictures take, and how large what is made of them becomes: estimates.

Measured with `python -m benchmarks.data_sets` on files fabricated with the averages of the real ones (boxes an image,
bytes a box): CPU time of one core of a shared x86-64 machine, medians of 3 processes, 60 000 boxes a format; the range
was within a fifth of them (of copying a quarter). Your disk and core differ: read them as an order of magnitude.
"""

from __future__ import annotations

from dataclasses import dataclass

from c2o_evidence.datasets.kinds import Format, Split

PICTURE_SECONDS = 0.0018  # a JPEG of 640 x 480 px and 70 kB, read and decoded; larger ones in proportion
COPY_SECONDS = 0.0053  # the same, as a copy of `kind: named` decodes and copies it
ODGT_BYTES = 80_017_502 / 438_792  # of CrowdHuman's train, a box; for val, whose number of boxes is not published


@dataclass(frozen=True)
class Rate:
    """A box, with its share of the images' records: microseconds to check and to load for training (converted,
    written, read back), bytes of memory at the peak of loading, and bytes of the converted JSON (0: not converted).
    """

    check_us: float
    load_us: float
    memory: float
    converted: float


_COCO = Rate(18.8, 39.7, 3000, 0)
RATES: dict[Format, Rate] = {
    "coco": _COCO,
    "repro10k": _COCO,
    "lvis": Rate(30.9, 72.4, 5670, 99),
    "objects365": Rate(8.4, 31.9, 1310, 97),
    "odgt": Rate(6.8, 37.2, 1120, 92),
    "voc": Rate(35.3, 73.2, 1350, 143),
}


@dataclass(frozen=True)
class Cost:
    """Seconds of one core, and bytes."""

    check_s: float
    load_s: float
    load_bytes: float
    decode_s: float
    copy_s: float
    converted: int | None  # None: not known


def estimate(split: Split) -> Cost | None:
    """What a split takes; None if no number of its boxes is public."""
    boxes = split.boxes or split.plain_boxes
    if not boxes and split.format == "odgt" and split.size:
        boxes = round(split.size / ODGT_BYTES)
    if not boxes or split.image_count is None:
        return None
    rate = RATES[split.format]
    return Cost(
        check_s=boxes * rate.check_us / 1e6,
        load_s=boxes * rate.load_us / 1e6,
        load_bytes=boxes * rate.memory,
        decode_s=split.image_count * PICTURE_SECONDS,
        copy_s=split.image_count * COPY_SECONDS,
        converted=None if split.format == "repro10k" else round(boxes * rate.converted),
    )
