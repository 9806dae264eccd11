  // One thread decodes 16 weights of w (packed bytes) into o (T). Template: T, CHUNKS (of 16 weights, in all).
  // Grid (CHUNKS, 1, 1). The guard: CUDA launches whole blocks, Metal clips the last threadgroup.
  const uint i = thread_position_in_grid.x;
  if (i < uint(CHUNKS)) {
    const uint chunks = Format::WEIGHTS / 16;
    float v[16];
    Format::decode16(w + size_t(i / chunks) * Format::BYTES, i % chunks, v);
    for (uint k = 0; k < 16; k++) o[size_t(i) * 16 + k] = T(v[k]);
  }
