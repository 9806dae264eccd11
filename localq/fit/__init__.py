"""Will it run here, how fast, and which build to take: arithmetic on headers; nothing is loaded, no MLX imported."""
