"""Objects365 v2 (Shao et al., ICCV 2019): 365 classes, as a COCO document.

    objects365/annotations/zhiyuan_objv2_{train,val}.json   objects365/{train,val}/patchN/*.jpg

The JSON is COCO's. Its ``file_name`` says where an image lay with its publisher (images/v2/patch16/NAME.jpg); unpacked
archives give patch16/NAME.jpg, so the last two parts count. Three images of train are in the JSON but in no archive:
where they are not on disk they are left out, with their boxes, and named in the log. Any other missing image is an
error.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

from c2o_model.data import annotation_file as source
from c2o_model.data.errors import DataError

logger = logging.getLogger(__name__)

NEVER_PUBLISHED = frozenset(
    (
        "patch6/objects365_v1_00320532.jpg",
        "patch6/objects365_v1_00320534.jpg",
        "patch16/objects365_v2_00908726.jpg",
    )
)
_NAME = re.compile(r"(?:^|/)(patch\d+/[\w.-]+)$")


def objects365_document(annotation: Path, images: Path) -> dict[str, Any]:
    """The COCO document of an Objects365 JSON; file names are relative to ``images``, the directory of the patches.

    Raises:
        DataError: the JSON is missing, corrupt or lacks a key.
    """
    document = source.read_object(annotation)
    found, absent = [], {}
    for number, record in enumerate(source.records(annotation, document, "images")):
        where = f"images[{number}]"
        name = source.text(annotation, record, "file_name", where)
        match = _NAME.search(name)
        if match is None:
            what = f"{where}: file_name: {name!r} does not end in patchN/FILE"
            raise DataError(annotation, what, "use the JSON of Objects365 v2")
        entry = source.image_record(annotation, record, match[1], where)
        if match[1] in NEVER_PUBLISHED and not (images / match[1]).is_file():
            absent[entry["id"]] = match[1]
        else:
            found.append(entry)
    if absent:
        listed = ", ".join(absent.values())
        logger.warning("%s: left out %d images never published: %s", annotation, len(absent), listed)
    return {
        "images": found,
        "annotations": [entry for entry in source.box_records(annotation, document) if entry["image_id"] not in absent],
        "categories": source.category_records(annotation, document),
    }
