"""Fixtures every test may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real small models and texts, named by LOCALQ_TEST_DATA."""
    where = os.environ.get("LOCALQ_TEST_DATA")
    if not where or not Path(where).is_dir():
        pytest.skip("LOCALQ_TEST_DATA names no folder with real test models")
    return Path(where)
