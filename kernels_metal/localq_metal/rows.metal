  // As dequantize.metal, but row r of o is row ids[r] of the matrix. Template: T, K, CHUNKS (of o).
  const uint i = thread_position_in_grid.x;
  if (i < uint(CHUNKS)) {
    float v[16];
    f.decode16(ids[i / uint(K / 16)], i % uint(K / 16), v);
    for (uint k = 0; k < 16; k++) o[size_t(i) * 16 + k] = T(v[k]);
  }
