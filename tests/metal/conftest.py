"""One harness for the session: kernels compiled by one test serve the others."""

from __future__ import annotations

import os
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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Cases marked slow are the rest of a proof of which the others are a sample."""
    if os.environ.get("LOCALQ_PROVE"):
        return
    for item in items:
        if item.path.parent == Path(__file__).parent and item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.skip(reason="part of the whole proof: LOCALQ_PROVE=1 runs it"))
