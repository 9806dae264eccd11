"""The full-screen program (none yet)."""
