  // y[m, n] of two or three matrices with one input, their rows one after the other: qmv, once instead of thrice.
  // Template: T, K, N0, N1, N2 (rows of each), R, SG. Grid as in qmv.metal for N0 + N1 + N2 rows.
  const uint lane = thread_index_in_simdgroup, all = N0 + N1 + N2;
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
    for (uint r = 0; r < R; r++) {
      const uint row = min(row0 + r, all - 1u);  // clamped: simd_sum wants every lane
      Format f = f0;
      uint n = row;
      if (row >= uint(N0)) {
        f = f1;
        n = row - N0;
      }
      if (row >= uint(N0 + N1)) {
        f = f2;
        n = row - N0 - N1;
      }
      sum[r] += f.dot(n, at, xv, sums);
    }
  }
  for (uint r = 0; r < R; r++) {
    const float s = simd_sum(sum[r]);
    if (lane == 0 && row0 + r < all) y[m * all + row0 + r] = T(s);
  }
