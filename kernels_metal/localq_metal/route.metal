  // The router of a mixture: softmax over E experts, the TOP largest and which they are, over their sum if SHARED.
  // A simdgroup for a row, E at most 1024; of equal ones the first. Template: T, E, TOP, SHARED.
  // Grid (32, rows, 1), threadgroup (32, 1, 1).
  const uint lane = thread_index_in_simdgroup;
  const size_t m = threadgroup_position_in_grid.y;
  float v[(E + 31) / 32], most = -1e38f;
  for (uint e = 0; e < (E + 31) / 32; e++) {
    v[e] = 32 * e + lane < uint(E) ? float(x[m * E + 32 * e + lane]) : -1e38f;
    most = max(most, v[e]);
  }
  most = simd_max(most);
  float whole = 0.0f;
  for (uint e = 0; e < (E + 31) / 32; e++) {
    v[e] = exp(v[e] - most);
    whole += v[e];
  }
  whole = simd_sum(whole);
  float picked[TOP], total = 0.0f;
  uint named[TOP];
  for (uint n = 0; n < TOP; n++) {
    float best = -1.0f;
    uint at = 0;
    for (uint e = 0; e < (E + 31) / 32; e++) {
      at = v[e] > best ? 32 * e + lane : at;
      best = max(best, v[e]);
    }
    picked[n] = simd_max(best);
    named[n] = min(simd_min(best == picked[n] ? at : 0xffffffffu), uint(E) - 1u);
    total += picked[n];
    for (uint e = 0; e < (E + 31) / 32; e++) v[e] = 32 * e + lane == named[n] ? -2.0f : v[e];
  }
  for (uint n = 0; n < TOP; n++) {
    if (lane == 0) score[m * TOP + n] = T(picked[n] / (SHARED ? total : whole));
    if (lane == 0) expert[m * TOP + n] = named[n];
  }
