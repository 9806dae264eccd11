  // Groups of G weights w (T) to MLX's mxfp4, mxfp8 (G = 32, E8M0 scales) or nvfp4 (G = 16, E4M3 scales): wq (uint32,
  // codes of BITS, lowest first) and scales (uint8). A simdgroup computes 32 weights. Template: T, G, BITS, GROUPS.
  // Grid (32 * ceil(GROUPS * G / 32), 1, 1).
  const uint lane = thread_index_in_simdgroup, g = thread_position_in_grid.x / G;
  const size_t i = min(size_t(thread_position_in_grid.x), size_t(GROUPS) * G - 1);
  const float a = abs(float(w[i]));
  const float left = simd_max(lane < uint(G) ? a : 0.0f), right = simd_max(lane < uint(G) ? 0.0f : a);
  const float top = (lane < uint(G) ? left : right) / (BITS == 4 ? 6.0f : 448.0f);
  const uint code = G == 32 ? to_e8m0(top) : to_e4m3(top);
  const float scale = G == 32 ? from_e8m0(code) : from_e4m3(code);
  const uint per = 32 / BITS, at = lane % G;
  if (g < uint(GROUPS)) {
    if (at == 0) scales[g] = uint8_t(code);
    if (at < G / per) {
      uint word = 0;
      for (uint k = 0; k < per; k++) {
        const float v = float(w[size_t(g) * G + at * per + k]) / scale;
        const float q = scale == 0.0f ? 0.0f : v;
        word |= (BITS == 4 ? to_e2m1(q) : to_e4m3(q)) << (k * BITS);
      }
      wq[size_t(g) * (G / per) + at] = word;
    }
  }
