"""Metal and CUDA bodies of the packed kernels (none yet)."""
