  // y[m, n] = sum over k of W[n, k] * x[m, k], accumulated in float. A simdgroup computes R rows of W; its lanes share
  // their pieces (source.py). Template: T, N, K, R, SG (simdgroups in a threadgroup).
  // Grid (32 * SG * ceil(N / (R * SG)), M, 1), threadgroup (32 * SG, 1, 1).
  const uint lane = thread_index_in_simdgroup;
  const uint row0 = (threadgroup_position_in_grid.x * SG + simdgroup_index_in_threadgroup) * R;
  const size_t m = threadgroup_position_in_grid.y;
  const uint piece = Format::RUN * Format::SPAN, apart = Format::STRIDE / Format::RUN;
  float sum[R];
  for (uint r = 0; r < R; r++) sum[r] = 0.0f;
  for (uint p = lane; p < uint(K) / piece; p += 32) {
    const uint at = p / apart * (apart * piece) + p % apart * Format::RUN;
    float xv[piece], sums[Format::SPAN];
    for (uint j = 0; j < Format::SPAN; j++) {
      sums[j] = 0.0f;
      for (uint k = 0; k < Format::RUN; k++) {
        const float v = float(x[m * K + at + j * Format::STRIDE + k]);
        xv[j * Format::RUN + k] = v;
        sums[j] += v;
      }
    }
    // Rows are clamped, not skipped: simd_sum wants the whole simdgroup.
    for (uint r = 0; r < R; r++) sum[r] += f.dot(min(row0 + r, uint(N) - 1u), at, xv, sums);
  }
  for (uint r = 0; r < R; r++) {
    const float s = simd_sum(sum[r]);
    if (lane == 0 && row0 + r < uint(N)) y[m * N + row0 + r] = T(s);
  }
