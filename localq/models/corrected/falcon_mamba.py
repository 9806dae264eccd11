"""Falcon Mamba: as Mamba (see mamba.py), with norms on B, C and the time step."""

from localq.models.corrected.mamba import classes as classes
