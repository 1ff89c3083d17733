"""Of all tests: settings, and one headless Chromium. A busy machine is no fault of the code: no property test fails for
being slow.
"""

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from tests.browser.chromium import missing, started

if TYPE_CHECKING:
    from playwright.sync_api import Browser

settings.register_profile("c2o", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("c2o")


@pytest.fixture(scope="session")
def browser() -> Iterator["Browser"]:
    """One for all: playwright cannot be started twice in a process."""
    if why := missing():
        if os.environ.get("C2O_REQUIRE_BROWSER"):
            pytest.fail(f"C2O_REQUIRE_BROWSER is set, but: {why}")
        pytest.skip(f"browser tests: {why}")
    with started() as running:
        yield running
