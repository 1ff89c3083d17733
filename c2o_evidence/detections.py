"""Stored detections: what a model output, run by run, so that AP can be recomputed without the model.

One safetensors file a checkpoint, with four tensors a run, `EXP_ID/EVAL_SEED/NAME`: `image_id` int64 [n],
`box` float32 [n, 4] (x1, y1, x2, y2 in px of the original image), `score` float32 [n], `label` int64 [n]
(index into the class names). The bytes are written here and not by the safetensors library, whose order of
metadata varies between runs; equal content gives equal bytes. A reader trusts nothing: every declared size
is checked against the file before memory is taken.
"""

import json
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from c2o_evidence.atomic import atomic_path
from c2o_evidence.errors import DetectionsError
from c2o_evidence.json_file import parse_json
from c2o_evidence.limits import MAX_CATEGORIES, MAX_DETECTIONS_FILE, MAX_DETECTIONS_HEADER
from c2o_evidence.plain_file import LIMITS, open_plain

MAX_COUNT = 1 << 36  # of detections, and of bytes of a file

# Tensors of 8-byte items come first in the file, so that all are aligned.
_FIELDS = {
    "image_id": ("I64", "<i8", 1),
    "label": ("I64", "<i8", 1),
    "box": ("F32", "<f4", 4),
    "score": ("F32", "<f4", 1),
}
_ORDER = {"I64": 0, "F32": 1}
_KEY = re.compile(r"([A-Za-z0-9][A-Za-z0-9_.-]*)/(0|[1-9][0-9]{0,9})/(image_id|box|score|label)")

RunKey = tuple[str, int]
"""(exp_id, eval seed)."""


@dataclass(frozen=True, eq=False)
class Detections:
    """The detections of one run, `n` of them over all images, in the order the model gave them.

    Attributes:
        image_id: int64 [n], ids of the annotation file.
        box: float32 [n, 4], x1 <= x2 and y1 <= y2, px of the original image.
        score: float32 [n].
        label: int64 [n], index into the class names, >= 0.
    """

    image_id: npt.NDArray[np.int64]
    box: npt.NDArray[np.float32]
    score: npt.NDArray[np.float32]
    label: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return int(self.image_id.shape[0])

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Detections):
            return NotImplemented
        return all(np.array_equal(getattr(self, name), getattr(other, name)) for name in _FIELDS)

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Any]) -> "Detections":
        """Build from array-likes named image_id, box, score, label, converting to the dtypes above.

        Raises:
            DetectionsError: as `check`.
        """
        result = cls(
            image_id=np.ascontiguousarray(arrays["image_id"], dtype=np.int64),
            box=np.ascontiguousarray(arrays["box"], dtype=np.float32).reshape(-1, 4),
            score=np.ascontiguousarray(arrays["score"], dtype=np.float32),
            label=np.ascontiguousarray(arrays["label"], dtype=np.int64),
        )
        result.check("detections")
        return result

    def check(self, where: str) -> None:
        """Refuse arrays of another shape or type, values that are not finite, inside-out boxes, negative
        labels.

        Raises:
            DetectionsError: `WHERE: NAME: what is wrong`.
        """
        count = len(self)
        for name, (_, dtype, width) in _FIELDS.items():
            array = getattr(self, name)
            shape = (count, 4) if width == 4 else (count,)
            if array.shape != shape or array.dtype != np.dtype(dtype):
                raise DetectionsError(
                    f"{where}: {name}: is {array.dtype} {list(array.shape)}, not {dtype} {list(shape)}"
                )
        for name in ("box", "score"):
            if not np.isfinite(getattr(self, name)).all():
                row = int(np.argwhere(~np.isfinite(getattr(self, name)))[0, 0])
                raise DetectionsError(f"{where}: {name}: detection {row} is not finite; the model's output is unusable")
        inverted = (self.box[:, 2:] < self.box[:, :2]).any(axis=1)
        if inverted.any():
            row = int(np.argmax(inverted))
            raise DetectionsError(f"{where}: box: detection {row} {self.box[row].tolist()} is not x1, y1, x2, y2")
        if count and int(self.label.min()) < 0:
            raise DetectionsError(f"{where}: label: detection {int(self.label.argmin())} has a negative label")


def write_detections(
    path: Path | str, runs: Mapping[RunKey, Detections], metadata: Mapping[str, str] | None = None
) -> None:
    """Write runs atomically; equal content gives equal bytes.

    Args:
        metadata: text by name, e.g. the checkpoint's digest and the class names as JSON. Nothing of time,
            host or path.

    Raises:
        DetectionsError: malformed detections, a name that cannot be a key, metadata that is not text.
    """
    arrays: dict[str, npt.NDArray[Any]] = {}
    for (exp_id, seed), run in runs.items():
        run.check(f"{path}: {exp_id}/{seed}")
        for name, (_, dtype, _) in _FIELDS.items():
            key = f"{exp_id}/{seed}/{name}"
            if not _KEY.fullmatch(key):
                raise DetectionsError(
                    f"{path}: {key!r} is not EXP_ID/EVAL_SEED/NAME; use letters, digits, '_', '.', '-'"
                )
            arrays[key] = np.ascontiguousarray(getattr(run, name), dtype=dtype)
    for name, text in (metadata or {}).items():
        if not isinstance(name, str) or not isinstance(text, str):
            raise DetectionsError(f"{path}: metadata: {name!r} is not text; convert it")
    ordered = sorted(arrays, key=lambda key: (_ORDER[_field(key)[0]], key))
    header: dict[str, Any] = {"__metadata__": dict(sorted(metadata.items()))} if metadata else {}
    offset = 0
    for key in ordered:
        size = arrays[key].nbytes
        header[key] = {
            "dtype": _field(key)[0],
            "shape": list(arrays[key].shape),
            "data_offsets": [offset, offset + size],
        }
        offset += size
    encoded = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode("utf-8")
    encoded += b" " * (-len(encoded) % 8)
    if len(encoded) > MAX_DETECTIONS_HEADER:
        raise DetectionsError(
            f"{path}: the header would have {len(encoded)} bytes, over {MAX_DETECTIONS_HEADER}; store fewer runs a file"
        )
    with atomic_path(path) as temporary, open(temporary, "wb") as stream:
        stream.write(struct.pack("<Q", len(encoded)))
        stream.write(encoded)
        for key in ordered:
            stream.write(arrays[key].data)


def read_detections(path: Path | str, most: int | None = None) -> dict[RunKey, Detections]:
    """Read and check all runs of a file, sorted by key. Memory is bounded by the size of the file.

    Args:
        most: detections that a run may have.

    Raises:
        DetectionsError: the file is not exactly what `write_detections` can have written, or a run has more.
    """
    with _open(path) as stream:
        header, start = _read_header(path, stream)
        header.pop("__metadata__", None)
        runs: dict[RunKey, dict[str, Any]] = {}
        for key, entry in header.items():
            match = _KEY.fullmatch(key)
            assert match is not None  # _read_header has checked it
            begin, end = entry["data_offsets"]
            count = (end - begin) // _item_size(match[3])
            if most is not None and entry["shape"][0] > most:
                what = f"has {entry['shape'][0]} detections, more than the {most} that its images can have ({LIMITS})"
                raise DetectionsError(f"{path}: {match[1]}/{match[2]}: {what}")
            stream.seek(start + begin)
            array = np.fromfile(stream, dtype=_FIELDS[match[3]][1], count=count)
            if array.size != count:
                raise DetectionsError(f"{path}: {key}: was cut off while it was read; restore the file")
            runs.setdefault((match[1], int(match[2])), {})[match[3]] = array.reshape(entry["shape"])
    result = {}
    for run_key, arrays in sorted(runs.items()):
        where = f"{path}: {run_key[0]}/{run_key[1]}"
        missing = [name for name in _FIELDS if name not in arrays]
        if missing:
            raise DetectionsError(f"{where}: {missing[0]}: is missing; restore the file")
        result[run_key] = Detections(**arrays)
        result[run_key].check(where)
    return result


def read_detections_metadata(path: Path | str) -> dict[str, str]:
    """The metadata of a file, without its tensors.

    Raises:
        DetectionsError: as `read_detections`, for the header.
    """
    with _open(path) as stream:
        header, _ = _read_header(path, stream)
    metadata: dict[str, str] = header.get("__metadata__", {})
    return metadata


def read_class_names(path: Path | str) -> tuple[str, ...]:
    """Class names in label order, as stored with the detections; empty where none are, or for no class.

    Raises:
        DetectionsError: they are no list of names, or as `read_detections_metadata`.
    """
    text = read_detections_metadata(path).get("class_names")
    if text is None:
        return ()
    try:
        names = parse_json(text.encode("utf-8"), most=MAX_CATEGORIES)
    except ValueError:
        names = None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise DetectionsError(f"{path}: class_names: {text[:200]!r} is not a list of names; restore the file")
    return tuple(names)


def _open(path: Path | str) -> BinaryIO:
    try:
        return open(open_plain(path), "rb")
    except OSError as error:
        raise DetectionsError(f"{path}: cannot be read: {error.strerror}; evaluate again") from error


def _read_header(path: Path | str, stream: BinaryIO) -> tuple[dict[str, Any], int]:
    """The checked header and where the data begins: tensors known and contiguous, nothing else there."""
    size = stream.seek(0, 2)
    stream.seek(0)
    if size < 8 or size > MAX_DETECTIONS_FILE:
        limits = f"8 to {MAX_DETECTIONS_FILE} ({LIMITS})"
        raise DetectionsError(f"{path}: has {size} bytes; a file of detections has {limits}")
    length = struct.unpack("<Q", stream.read(8))[0]
    if length > MAX_DETECTIONS_HEADER or length > size - 8:
        raise DetectionsError(f"{path}: declares a header of {length} bytes; the file is cut off or damaged")
    try:
        header = parse_json(stream.read(length))
    except ValueError as error:
        raise DetectionsError(f"{path}: the header is not usable: {error}; restore the file") from None
    if not isinstance(header, dict):
        raise DetectionsError(f"{path}: the header is not a mapping; restore the file")
    metadata = header.get("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise DetectionsError(f"{path}: __metadata__: is not a mapping of texts; restore the file")
    spans = sorted(_check_entry(path, key, entry) for key, entry in header.items() if key != "__metadata__")
    position = 0
    for begin, end, key in spans:
        if begin != position:
            raise DetectionsError(f"{path}: {key}: lies at {begin} instead of {position}; the file is damaged")
        position = end
    if 8 + length + position != size:
        raise DetectionsError(f"{path}: declares {8 + length + position} bytes but has {size}; cut off or appended to")
    return header, 8 + length


def _check_entry(path: Path | str, key: str, entry: Any) -> tuple[int, int, str]:
    if not _KEY.fullmatch(key):
        raise DetectionsError(f"{path}: {key!r} is not EXP_ID/EVAL_SEED/NAME; it does not belong here")
    dtype, _, width = _field(key)
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise DetectionsError(f"{path}: {key}: its entry is malformed; restore the file")
    if entry["dtype"] != dtype:
        raise DetectionsError(f"{path}: {key}: dtype: {entry['dtype']!r} instead of {dtype!r}; restore the file")
    shape, offsets = entry["shape"], entry["data_offsets"]
    if not _counts(shape, 2 if width == 4 else 1) or (width == 4 and shape[1] != 4):
        raise DetectionsError(f"{path}: {key}: shape: {shape!r} is not possible; restore the file")
    if not _counts(offsets, 2) or offsets[1] - offsets[0] != shape[0] * width * (8 if dtype == "I64" else 4):
        raise DetectionsError(f"{path}: {key}: data_offsets: {offsets!r} do not fit shape {shape}; restore the file")
    return offsets[0], offsets[1], key


def _counts(value: Any, length: int) -> bool:
    return (
        isinstance(value, list)
        and len(value) == length
        and all(type(item) is int and 0 <= item < MAX_COUNT for item in value)
    )


def _field(key: str) -> tuple[str, str, int]:
    return _FIELDS[key.rpartition("/")[2]]


def _item_size(name: str) -> int:
    return 8 if _FIELDS[name][0] == "I64" else 4
