  // y[m, n] = sum over k of W[n, k] * x[m, k] for up to B rows of x: every weight is decoded once for all of them.
  // A simdgroup computes R rows of W. Template: T, N, K, B, R, SG; rows of x from its size, those after it repeat it.
  // Grid (32 * SG * ceil(N / (R * SG)), 1, 1), threadgroup (32 * SG, 1, 1).
  const uint lane = thread_index_in_simdgroup, tokens = uint(x_shape[0]) / uint(K);
  const uint row0 = (threadgroup_position_in_grid.x * SG + simdgroup_index_in_threadgroup) * R;
  float sum[R][B];
  for (uint r = 0; r < R; r++) {
    for (uint m = 0; m < B; m++) sum[r][m] = 0.0f;
  }
  for (uint c = lane; c < uint(K / 16); c += 32) {
    float wv[R][16];
    for (uint r = 0; r < R; r++) f.decode16(min(row0 + r, uint(N) - 1u), c, wv[r]);
    for (uint m = 0; m < B; m++) {
      const size_t at = size_t(min(m, tokens - 1u)) * K + c * 16;
      float xv[16];
      for (uint k = 0; k < 16; k++) xv[k] = float(x[at + k]);
      for (uint r = 0; r < R; r++) {
        float s = 0.0f;
        for (uint k = 0; k < 16; k++) s += wv[r][k] * xv[k];
        sum[r][m] += s;
      }
    }
  }
  for (uint r = 0; r < R; r++) {
    for (uint m = 0; m < B; m++) {
      const float s = simd_sum(sum[r][m]);
      if (lane == 0 && m < tokens && row0 + r < uint(N)) y[size_t(m) * N + row0 + r] = T(s);
    }
  }
