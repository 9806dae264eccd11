  // y[m, n] = sum over k of W[first + n, k] * x[m, k] for m from begin up to end (at most BM of them): a tile of W is
  // decoded into threadgroup memory and multiplied by 4 simdgroups with 8 x 8 matrices, all in float.
  // Template: T, N, K, BM, BN (multiples of 16). Grid (128 * ceil(N / BN), tiles of rows, 1), threadgroup (128, 1, 1).
  enum { BK = 32, LD = BK + 4, FM = BM / 16, FN = BN / 16 };
  threadgroup float tile[(BM + BN) * LD > BM * BN ? (BM + BN) * LD : BM * BN];  // x, then W; at last the result
  const uint t = thread_index_in_threadgroup, group = simdgroup_index_in_threadgroup;
  const uint row0 = threadgroup_position_in_grid.x * BN;
  const uint xs = (group / 2) * FM * 8 * LD, ws = (BM + (group % 2) * FN * 8) * LD;
  simdgroup_float8x8 sum[FM][FN], a[FM], b;
  for (uint i = 0; i < FM; i++) {
    for (uint j = 0; j < FN; j++) sum[i][j] = make_filled_simdgroup_matrix<float, 8>(0.0f);
  }
  if (begin < end) {  // the same for the whole threadgroup
    for (uint k0 = 0; k0 < uint(K); k0 += BK) {
      for (uint i = t; i < BM * BK; i += 128) {
        const size_t m = min(begin + i / BK, end - 1);
        const uint k = k0 + i % BK;
        tile[(i / BK) * LD + i % BK] = k < uint(K) ? float(x[m * K + min(k, uint(K) - 1u)]) : 0.0f;
      }
      for (uint i = t; i < BN * BK / 16; i += 128) {
        const uint row = i / (BK / 16), c = k0 / 16 + i % (BK / 16);
        float wv[16];
        f.decode16(first + min(row0 + row, uint(N) - 1u), min(c, uint(K / 16) - 1u), wv);
        for (uint k = 0; k < 16; k++) tile[(BM + row) * LD + (i % (BK / 16)) * 16 + k] = c < uint(K / 16) ? wv[k] : 0.0f;
      }
      threadgroup_barrier(mem_flags::mem_threadgroup);
      for (uint k = 0; k < BK; k += 8) {
        for (uint i = 0; i < FM; i++) simdgroup_load(a[i], tile + xs + i * 8 * LD + k, LD);
        for (uint j = 0; j < FN; j++) {
          simdgroup_load(b, tile + ws + j * 8 * LD + k, LD, ulong2(0, 0), true);
          for (uint i = 0; i < FM; i++) simdgroup_multiply_accumulate(sum[i][j], a[i], b, sum[i][j]);
        }
      }
      threadgroup_barrier(mem_flags::mem_threadgroup);
    }
  }
  const uint out = (group / 2) * FM * 8 * BN + (group % 2) * FN * 8;
  for (uint i = 0; i < FM; i++) {
    for (uint j = 0; j < FN; j++) simdgroup_store(sum[i][j], tile + out + i * 8 * BN + j * 8, BN);
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  for (uint i = t; i < BM * BN; i += 128) {
    const size_t m = begin + i / BN;
    const uint row = row0 + i % BN;
    if (m < end && row < uint(N)) y[m * N + row] = T(tile[i]);
  }
