"""LVIS v1 (Gupta, Dollar, Girshick, CVPR 2019): 1203 classes on the images of COCO 2017, as a COCO document.

    lvis/lvis_v1_{train,val}.json   coco/{train,val}2017/*.jpg

The JSON is COCO's but for two things: an image has no ``file_name`` (the last two parts of its ``coco_url`` are the
directory and the file: images of LVIS's val lie in COCO's train2017 too), and no object is a crowd. LVIS marks for each
image which classes were looked for: ``neg_category_ids`` (none there) and ``not_exhaustive_category_ids`` (not all
drawn). Both are kept in the document; COCO's AP, which `train_net` prints, ignores them, so it is not LVIS's AP.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from c2o_model.data import annotation_file as source
from c2o_model.data.errors import DataError

FEDERATED = ("neg_category_ids", "not_exhaustive_category_ids")
_URL = re.compile(r"(?:^|/)((?:train|val|test)2017/[\w.-]+)$")


def lvis_document(annotation: Path, images: Path) -> dict[str, Any]:
    """The COCO document of an LVIS JSON; file names are relative to the directory with COCO's image directories.

    Raises:
        DataError: the JSON is missing, corrupt or lacks a key.
    """
    document = source.read_object(annotation)
    found = []
    for number, record in enumerate(source.records(annotation, document, "images")):
        where = f"images[{number}]"
        url = source.text(annotation, record, "coco_url", where)
        match = _URL.search(url)
        if match is None:
            what = f"{where}: coco_url: {url!r} does not end in DIRECTORY2017/FILE"
            raise DataError(annotation, what, "use the JSON of LVIS v1")
        entry = source.image_record(annotation, record, match[1], where)
        found.append({**entry, **{key: record[key] for key in FEDERATED if key in record}})
    return {
        "images": found,
        "annotations": list(source.box_records(annotation, document)),
        "categories": source.category_records(annotation, document),
    }
