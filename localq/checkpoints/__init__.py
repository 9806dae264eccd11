"""Checkpoints: opening the files of a model, whatever container they are in, without executing anything."""

from __future__ import annotations

from localq.checkpoints.base import Checkpoint, TensorSpec
from localq.checkpoints.detect import open_checkpoint

__all__ = ["Checkpoint", "TensorSpec", "open_checkpoint"]
