"""From float checkpoints to packed ones: one file per method."""
