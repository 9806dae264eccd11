  // y[m, n] = sum over k of W[n, k] * x[m, k], accumulated in float. A simdgroup computes R rows of W; its lanes share
  // the chunks of 16 weights. Template: T, N, K, R, SG (simdgroups in a threadgroup).
  // Grid (32 * SG * ceil(N / (R * SG)), M, 1), threadgroup (32 * SG, 1, 1).
  const uint lane = thread_index_in_simdgroup;
  const uint row0 = (threadgroup_position_in_grid.x * SG + simdgroup_index_in_threadgroup) * R;
  const size_t m = threadgroup_position_in_grid.y;
  float sum[R];
  for (uint r = 0; r < R; r++) sum[r] = 0.0f;
  for (uint c = lane; c < uint(K / 16); c += 32) {
    float xv[16], wv[16];
    for (uint k = 0; k < 16; k++) xv[k] = float(x[m * K + c * 16 + k]);
    for (uint r = 0; r < R; r++) {
      f.decode16(min(row0 + r, uint(N) - 1u), c, wv);  // clamped, not skipped: simd_sum wants the whole simdgroup
      float s = 0.0f;
      for (uint k = 0; k < 16; k++) s += wv[k] * xv[k];
      sum[r] += s;
    }
  }
  for (uint r = 0; r < R; r++) {
    const float s = simd_sum(sum[r]);
    if (lane == 0 && row0 + r < uint(N)) y[m * N + row0 + r] = T(s);
  }
