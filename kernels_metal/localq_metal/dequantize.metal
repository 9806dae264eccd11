  // One thread decodes 16 weights into o (T). Template: T, K (columns), CHUNKS (of 16 weights, in all).
  // Grid (CHUNKS, 1, 1). The guard: CUDA launches whole blocks, Metal clips the last threadgroup.
  const uint i = thread_position_in_grid.x;
  if (i < uint(CHUNKS)) {
    float v[16];
    f.decode16(i / uint(K / 16), i % uint(K / 16), v);
    for (uint k = 0; k < 16; k++) o[size_t(i) * 16 + k] = T(v[k]);
  }
