  // y = W x of up to three matrices with one input, their rows one after the other, and what a layer does around it.
  // Lines that end in `// if` and words are there where fused.py asks for one of the words. Template: T, K, R, SG,
  // B (rows of x of a threadgroup), N0, N1, N2 (rows of each matrix); with words TOP, EACH, TURNED, HEAD.
  // Grid (32 * SG * ceil((N0 + N1 + N2) / (R * SG)), ceil(rows of y / B), 1), threadgroup (32 * SG, 1, 1).
  const uint lane = thread_index_in_simdgroup, all = N0 + N1 + N2;
  const uint row0 = (threadgroup_position_in_grid.x * SG + simdgroup_index_in_threadgroup) * R;
  const uint m0 = threadgroup_position_in_grid.y * B;
  uint row[R], of[R];  // of each sum its row, and the matrix that this is a row of
  float sum[R][B];
  float squares[B];  // if norm
  for (uint b = 0; b < B; b++) {
    squares[b] = 0.0f;  // if norm
    for (uint r = 0; r < R; r++) sum[r][b] = 0.0f;
  }
  for (uint r = 0; r < R; r++) {
    uint n = min(row0 + r, all - 1u);  // clamped, not skipped: simd_sum wants the whole simdgroup
    if (n < uint(TURNED)) n = n / HEAD * HEAD + n % HEAD / 2 + n % 2 * (HEAD / 2);  // if turn
    of[r] = n < uint(N0) ? 0u : n < uint(N0 + N1) ? 1u : 2u;  // if one two three
    row[r] = n - (of[r] == 0 ? 0u : of[r] == 1 ? uint(N0) : uint(N0 + N1));  // if one two three
    of[r] = r % 2;  // if glu
    row[r] = n / 2;  // if glu
  }
