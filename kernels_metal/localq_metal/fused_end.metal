  for (uint b = 0; b < B; b++) {
    const size_t m = m0 + b;
    const float over = rsqrt(simd_sum(squares[b]) / float(K) + EPS);  // if norm
    float s[R];
    for (uint r = 0; r < R; r++) s[r] = simd_sum(sum[r][b]);
    for (uint r = 0; r < R; r++) s[r] *= over;  // if norm
    for (uint r = 0; r < R; r += 2) {  // if turn glu
      const float g = s[r];  // if glu
      const float z = g;  // if silu
      const float z = 1.5957691216f * (g + 0.044715f * g * g * g);  // if gelu
      s[r] = g / (1.0f + exp(-z)) * s[r + 1];  // if glu
      const uint n = row0 + r, i = n % HEAD / 2, one = n / HEAD * HEAD + i;  // if turn
      const bool turned = n < uint(TURNED);  // if turn
      const size_t t = (m < tokens ? m : tokens - 1) * HEAD + i;  // if turn
      const float c = turned ? float(turn[t]) : 1.0f, d = turned ? float(turn[t + HEAD / 2]) : 0.0f;  // if turn
      const float first = s[r] * c - s[r + 1] * d, second = s[r] * d + s[r + 1] * c;  // if turn
      const size_t to = m * all + (turned ? one : n), next = to + (turned ? HEAD / 2 : 1);  // if turn
      if (lane == 0 && m < tokens && n < all) y[to] = T(first);  // if turn
      if (lane == 0 && m < tokens && n + 1 < all) y[next] = T(second);  // if turn
      if (lane == 0 && m < tokens && row0 + r < all) y[m * N0 + (row0 + r) / 2] = T(s[r]);  // if glu
    }  // if turn glu
    for (uint r = 0; r < R; r++) {  // if plain
      const size_t to = m * all + row0 + r;  // if plain
      const bool stored = lane == 0 && m < tokens && row0 + r < all;  // if plain
      if (stored) s[r] += float(more[to]);  // if add
      if (stored) y[to] = T(s[r]);  // if plain
    }  // if plain
  }
