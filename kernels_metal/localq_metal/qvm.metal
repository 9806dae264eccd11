  // y[m, k] = sum over n of x[m, n] * W[first + n, k]. A lane has 16 columns, the simdgroups of a threadgroup share the
  // rows and add up what they have. Template: T, N, K, SG. Grid (32 * SG * ceil(K / 512), M, 1), threadgroup
  // (32 * SG, 1, 1).
  threadgroup float parts[SG * 32 * 16];
  const uint lane = thread_index_in_simdgroup, group = simdgroup_index_in_threadgroup;
  const uint chunk = threadgroup_position_in_grid.x * 32 + lane, chunks = K / 16;
  const size_t m = threadgroup_position_in_grid.y;
  float sum[16], wv[16];
  for (uint k = 0; k < 16; k++) sum[k] = 0.0f;
  for (uint n = group; n < uint(N); n += SG) {
    const float xv = float(x[m * N + n]);
    f.decode16(first + n, min(chunk, chunks - 1u), wv);
    for (uint k = 0; k < 16; k++) sum[k] += xv * wv[k];
  }
  for (uint k = 0; k < 16; k++) parts[(group * 32 + lane) * 16 + k] = sum[k];
  threadgroup_barrier(mem_flags::mem_threadgroup);
  for (uint i = group * 32 + lane; i < 512; i += 32 * SG) {
    float s = 0.0f;
    for (uint g = 0; g < SG; g++) s += parts[g * 512 + i];
    const uint column = threadgroup_position_in_grid.x * 512 + i;
    if (column < uint(K)) y[m * K + column] = T(s);
  }
