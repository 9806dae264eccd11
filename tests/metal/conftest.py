"""One harness for the session: kernels compiled by one test serve the others."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.metal.harness import Harness, missing


@pytest.fixture(scope="session")
def harness(tmp_path_factory: pytest.TempPathFactory) -> Harness:
    """The executor of Metal kernels on this CPU; the test is skipped, with the reason, where it cannot be."""
    why = missing()
    if why:
        pytest.skip(why)
    folder: Path = tmp_path_factory.mktemp("metal")
    return Harness(folder)
