"""What the data tests share: the glyphs (read once) and a generated small set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from c2o_model.data.digits import generate
from c2o_model.data.digits_config import DigitsConfig
from c2o_model.data.glyphs import Glyphs, load_source, split_glyphs
from c2o_model.data.manifest import DataManifest

CONFIGS = Path(__file__).parents[3] / "configs" / "data"


@pytest.fixture(scope="session")
def mini_raw() -> dict[str, Any]:
    return yaml.safe_load((CONFIGS / "digits_mini.yaml").read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def mini_config(mini_raw: dict[str, Any]) -> DigitsConfig:
    return DigitsConfig.from_dict(mini_raw)


@pytest.fixture(scope="session")
def glyphs(mini_config: DigitsConfig) -> Glyphs:
    return split_glyphs(*load_source(), mini_config)


@pytest.fixture(scope="session")
def mini(mini_raw: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> DataManifest:
    """`digits_mini` as its file says, expected digest included. Read only."""
    return generate(mini_raw, tmp_path_factory.mktemp("data") / "digits_mini")
