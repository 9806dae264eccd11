"""Random damage to every fixture of every family, its arrays and its config.

What is taken away, cut, cast, reshaped, emptied or overwritten either decodes to some weights or is an error of
localq's that names the file; nothing else ever comes out.
"""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from localq.checkpoints import open_checkpoint
from localq.errors import CheckpointError, NotFoundError, UnsupportedError
from tests.packed.cases import Case, every

CASES = [case for case in every() if not case.label.startswith("affine") or case.label == "affine_3bit_g64"]
KINDS = sorted({case.label.partition(" ")[0] for case in CASES})
TRIALS = 25
LIES: tuple[Any, ...] = (None, True, -1, 0, 3, 1 << 40, 0.5, "x", [], [0, 1], {}, {"x": 1})


def damaged(array: np.ndarray, kind: int, chance: random.Random) -> np.ndarray | None:
    if kind == 0:
        return None
    if kind == 1:
        return array[..., : max(array.shape[-1] - 1, 0)] if array.ndim else array.reshape(1)
    if kind == 2:
        return np.zeros(array.shape, np.int64)
    if kind == 3:
        return array.reshape(-1)
    if kind == 4:
        return array[None]
    if kind == 5:
        raw = bytearray(array.tobytes())
        for _ in range(3 if raw else 0):
            raw[chance.randrange(len(raw))] = chance.randrange(256)
        return np.frombuffer(bytes(raw), array.dtype).reshape(array.shape)
    return np.zeros((0, *array.shape[1:]), array.dtype) if array.ndim else array


def lied(config: dict[str, Any], chance: random.Random) -> dict[str, Any]:
    """The config with one of its values, at any depth, replaced or taken away."""
    told = json.loads(json.dumps(config))
    place, key = told, chance.choice([key for key in told if key != "model_type"] or list(told))
    while isinstance(place[key], (dict, list)) and place[key] and chance.random() < 0.8:
        place = place[key]
        key = chance.choice(list(place)) if isinstance(place, dict) else chance.randrange(len(place))
    if isinstance(place, dict) and chance.random() < 0.2:
        del place[key]
    else:
        place[key] = chance.choice(LIES)
    return told


def use(folder: Path, name: str) -> None:
    with np.errstate(all="ignore"), open_checkpoint(folder) as checkpoint:
        t = checkpoint[name]
        t.dequantize()
        if len(t.shape) == 2:
            t.rows(slice(1, 3)).dequantize()
            if t.format.has_native(t):
                t.format.to_native(t)


def attempt(folder: Path, case: Case, what: str) -> int:
    """1 if the case was refused."""
    case.write(folder)
    try:
        use(folder, case.name)
    except (CheckpointError, UnsupportedError) as error:
        assert str(folder) in str(error), f"{what}: {error}"
        return 1
    except NotFoundError:  # the one array that made it a matrix is gone
        return 1
    except Exception as error:
        raise AssertionError(what) from error
    return 0


@pytest.mark.parametrize("kind", KINDS)
def test_damage_is_weights_or_an_error_that_names_the_file(tmp_path: Path, kind: str) -> None:
    chance, refused = random.Random(kind), 0
    own = [case for case in CASES if case.label.partition(" ")[0] == kind]
    for _ in range(TRIALS):
        case = chance.choice(own)
        key = chance.choice(sorted(case.parts))
        changed = damaged(case.parts[key], chance.randrange(7), chance)
        parts = {n: a for n, a in case.parts.items() if n != key} | ({} if changed is None else {key: changed})
        refused += attempt(tmp_path, replace(case, parts=parts), f"{case.label}: {key}")
    assert refused > TRIALS // 4


@pytest.mark.parametrize("kind", KINDS)
def test_a_lying_config_is_weights_or_an_error_that_names_the_file(tmp_path: Path, kind: str) -> None:
    chance = random.Random(kind)
    own = [case for case in CASES if case.label.partition(" ")[0] == kind]
    for _ in range(TRIALS):
        case = chance.choice(own)
        told = lied(case.config, chance)
        attempt(tmp_path, replace(case, config=told), f"{case.label}: {told}")
