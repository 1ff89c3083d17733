"""What the tests of public sets are made with: pictures, annotation files, and loading a set by its name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from c2o_model.data.coco import CocoSplit
from c2o_model.data.public_sets import load_public


def picture(path: Path, width: int = 20, height: int = 10) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((height, width, 3), 90, np.uint8)).save(path)


def write(path: Path, document: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return path


def load(name: str, root: Path) -> CocoSplit:
    return load_public(name, root, root / "converted")
