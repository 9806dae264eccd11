"""Conversion between containers (none yet)."""
