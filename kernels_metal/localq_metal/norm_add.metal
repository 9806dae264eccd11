  // y = more + RMSNorm(x) * gain for a row of x; sums of float16 stay finite. Template: T, K, CLIP.
  // Grid (256, rows, 1), threadgroup (256, 1, 1).
  threadgroup float part[8];
  const uint t = thread_index_in_threadgroup;
  const size_t first = size_t(threadgroup_position_in_grid.y) * K;
  float squares = 0.0f;
  for (uint i = t; i < uint(K); i += 256) squares += float(x[first + i]) * float(x[first + i]);
  const float own = simd_sum(squares);
  if (thread_index_in_simdgroup == 0) part[simdgroup_index_in_threadgroup] = own;
  threadgroup_barrier(mem_flags::mem_threadgroup);
  float all = 0.0f;
  for (uint g = 0; g < 8; g++) all += part[g];
  const float over = rsqrt(all / float(K) + EPS);
  for (uint i = t; i < uint(K); i += 256) {
    const float v = float(more[first + i]) + float(x[first + i]) * over * float(gain[i]);
    y[first + i] = T(CLIP ? min(max(v, -65504.0f), 65504.0f) : v);
  }
