"""Fixtures shared by all tests."""

from pathlib import Path

import pytest

SHARED = Path(__file__).parents[1] / ".." / "shared" / "data"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real scans that developers have; tests that need it skip where it is not."""
    if not SHARED.is_dir():
        pytest.skip("the developers' folder of real scans (shared/data) is not here")
    return SHARED.resolve()
