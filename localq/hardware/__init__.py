"""What this machine is: chip, memory, memory bandwidth, back-ends. No MLX is imported and nothing runs at import."""

from localq.hardware.chips import CHIPS, Chip, find_chip
from localq.hardware.machine import Bandwidth, Machine, backends, machine, measured_bandwidth
from localq.hardware.probe import working_set_limit

__all__ = [
    "CHIPS",
    "Bandwidth",
    "Chip",
    "Machine",
    "backends",
    "find_chip",
    "machine",
    "measured_bandwidth",
    "working_set_limit",
]
