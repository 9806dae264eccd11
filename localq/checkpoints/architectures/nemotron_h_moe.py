"""Nemotron 3: Nemotron-H with layers of experts, under a GGUF name of its own."""

from __future__ import annotations

from localq.checkpoints.architectures.nemotron_h import ARCHITECTURE as ARCHITECTURE
