"""What the table of formats calls its oracles is what the fixtures' notes say: each peer decoded such a tensor."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import pytest

from localq.errors import CheckpointError, NotFoundError, UnsupportedError
from localq.formats import FORMATS
from tests.packed.cases import every, family
from tests.packed.fixtures import files, stored

# Peers whose values stand in a test of their own, and who writes no fixture of one module: format -> test file.
BY_TESTS = {
    ("mxfp6", "ml_dtypes"): "test_quark.py",
    ("exl3", "exllamav3"): "test_exl3.py",
    ("rotated", "compressed-tensors"): "test_rotated.py",
    ("mxfp4_blocks", "mlx-lm"): "test_gpt_oss.py",
    ("fp_quant", "a writer made from fp_quant's source"): "test_fp_quant.py",
    **{(f"tq{bits}", "its specification"): "test_tq.py" for bits in (2, 3, 4)},
}
NAMES = {"nvidia-modelopt": "modelopt"}


def writers() -> dict[str, set[str]]:
    """Fixture file and variant -> the packages that its note names."""
    found = {}
    for file in files():
        for name, note in stored(file)[1].items():
            said = f"{note.get('writer', '')}, {note.get('decoded', '')}".split(", ")
            found[f"{Path(file).stem} {name}"] = {NAMES.get(s.split()[0], s.split()[0]) for s in said if s.strip()}
    return found


def test_every_oracle_decoded_a_fixture(tmp_path: Path) -> None:
    noted, seen = writers(), defaultdict[str, set[str]](set)
    for number, case in enumerate(every()):
        if case.label in noted:
            (tmp_path / str(number)).mkdir()
            try:
                t, _ = case.open(tmp_path / str(number))
            except (CheckpointError, UnsupportedError, NotFoundError):  # refused, or its test brings more
                continue
            seen[family(t.format)] |= noted[case.label]
    claims = {
        (name, peer.strip())
        for name, form in FORMATS.items()
        if form.family not in ("float", "ggml", "mlx")
        for peer in form.checked.split(",")
    }
    without = {(name, peer) for name, peer in claims if peer not in seen[name]}
    assert without == set(BY_TESTS)
    assert all((Path(__file__).parent / file).exists() for file in BY_TESTS.values())


@pytest.mark.parametrize("file", files())
def test_every_fixture_has_its_generator(file: str) -> None:
    root = Path(__file__).parents[2] / "tools" / "fixtures"
    assert any(file in path.read_text() for path in root.glob("*.py"))
