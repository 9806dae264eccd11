  // Up to B rows of x: every weight is decoded once for all of them; rows after the last repeat it.
  const uint tokens = uint(x_shape[0]) / uint(K);
  for (uint c = lane; c < uint(K / 16); c += 32) {
    float wv[R][16];
    for (uint r = 0; r < R; r++) {
      const Format f = f0;  // if one
      const Format f = of[r] == 0 ? f0 : f1;  // if two
      const Format f = of[r] == 0 ? f0 : of[r] == 1 ? f1 : f2;  // if three
      const Format f = r % 2 == 0 ? f0 : f1;  // if glu
      f.decode16(row[r], c, wv[r]);
    }
    for (uint b = 0; b < B; b++) {
      const size_t at = size_t(min(m0 + b, tokens - 1u)) * K + c * 16;
      float xv[16];
      for (uint k = 0; k < 16; k++) xv[k] = float(x[at + k]);
      for (uint k = 0; k < 16; k++) squares[b] += xv[k] * xv[k];  // if norm
      for (uint k = 0; k < 16; k++) xv[k] *= float(gain[c * 16 + k]);  // if norm
      for (uint r = 0; r < R; r++) {
        float s = 0.0f;
        for (uint k = 0; k < 16; k++) s += wv[r][k] * xv[k];
        sum[r][b] += s;
      }
    }
  }
