  // y[m, n] = sum over k of W[expert[m], n, k] * x[m, k]: qmv, but every row of x names its matrix of the stack.
  // Template and grid as in qmv.metal.
  const uint lane = thread_index_in_simdgroup;
  const uint row0 = (threadgroup_position_in_grid.x * SG + simdgroup_index_in_threadgroup) * R;
  const size_t m = threadgroup_position_in_grid.y;
  const size_t first = size_t(expert[m]) * N;
  float sum[R];
  for (uint r = 0; r < R; r++) sum[r] = 0.0f;
  for (uint c = lane; c < uint(K / 16); c += 32) {
    float xv[16], wv[16];
    for (uint k = 0; k < 16; k++) xv[k] = float(x[m * K + c * 16 + k]);
    for (uint r = 0; r < R; r++) {
      f.decode16(first + min(row0 + r, uint(N) - 1u), c, wv);  // clamped: simd_sum wants every lane
      float s = 0.0f;
      for (uint k = 0; k < 16; k++) s += wv[k] * xv[k];
      sum[r] += s;
    }
  }
  for (uint r = 0; r < R; r++) {
    const float s = simd_sum(sum[r]);
    if (lane == 0 && row0 + r < uint(N)) y[m * N + row0 + r] = T(s);
  }
