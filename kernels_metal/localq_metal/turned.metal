  // Heads of queries and keys: RMSNorm of each with its gain, then RoPE; heads of values as they are, behind them. Or,
  // where BIASED, no norm: `gain` is added to every head, of values too. One launch, a simdgroup for a head. Template:
  // T, HEAD, QUERIES, KEYS (heads of a row; values have as many as keys), ROWS, SG, BIASED.
  // Grid (32 * SG * ceil(ROWS * heads / SG), 1, 1).
  const uint lane = thread_index_in_simdgroup, heads = QUERIES + 2 * KEYS;
  const uint asked = threadgroup_position_in_grid.x * SG + simdgroup_index_in_threadgroup;
  const uint at = min(asked, uint(ROWS) * heads - 1u);  // clamped: simd_sum wants every lane
  const uint m = at / heads, head = at % heads;
  const bool query = head < uint(QUERIES), value = head >= uint(QUERIES + KEYS);
  const size_t from = HEAD * (query ? size_t(m) * QUERIES + head : size_t(m) * KEYS + (head - QUERIES) % KEYS);
  const uint own = query ? 0u : uint(HEAD);  // queries' gain lies before keys'
  float a[(HEAD + 63) / 64], b[(HEAD + 63) / 64], squares = 0.0f;
  for (uint e = 0; e < (HEAD + 63) / 64; e++) {
    const uint i = min(32 * e + lane, uint(HEAD / 2) - 1u);
    const bool inside = 32 * e + lane < uint(HEAD / 2);
    a[e] = query ? float(q[from + i]) : value ? float(v[from + i]) : float(k[from + i]);
    b[e] = query ? float(q[from + i + HEAD / 2]) : value ? float(v[from + i + HEAD / 2]) : float(k[from + i + HEAD / 2]);
    if (BIASED) {
      a[e] += float(gain[head * HEAD + i]);
      b[e] += float(gain[head * HEAD + i + HEAD / 2]);
    }
    squares += inside ? a[e] * a[e] + b[e] * b[e] : 0.0f;
  }
  const float over = BIASED ? 1.0f : rsqrt(simd_sum(squares) / float(HEAD) + EPS);
  for (uint e = 0; e < (HEAD + 63) / 64; e++) {
    const uint i = 32 * e + lane;
    if (i < uint(HEAD / 2) && asked == at) {
      const float c = turn[size_t(m) * HEAD + i], d = turn[size_t(m) * HEAD + i + HEAD / 2];
      const float first = BIASED ? a[e] : a[e] * over * float(gain[own + i]);
      const float second = BIASED ? b[e] : b[e] * over * float(gain[own + i + HEAD / 2]);
      y[size_t(at) * HEAD + i] = T(value ? a[e] : first * c - second * d);
      y[size_t(at) * HEAD + i + HEAD / 2] = T(value ? b[e] : first * d + second * c);
    }
  }
