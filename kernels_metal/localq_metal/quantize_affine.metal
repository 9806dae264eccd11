  // Groups of G weights w (T) to MLX's affine layout: wq (uint32, codes of BITS as one stream, lowest bit first), scales
  // and biases (T). A simdgroup computes a group. Template: T, G, BITS, GROUPS. Grid (32 * GROUPS, 1, 1).
  // Half-way codes go to the even one and extremes begin at infinity, as in MLX's CPU kernel (its Metal kernel: away
  // from zero, at zero): the same weights give the same bytes on every machine.
  const uint lane = thread_index_in_simdgroup, g = thread_position_in_grid.x / 32;
  const size_t first = size_t(min(g, uint(GROUPS) - 1u)) * G;  // CUDA's spare simdgroups redo the last group
  const float bins = float((1 << BITS) - 1);
  float lo = INFINITY, hi = -INFINITY;
  for (uint i = lane; i < uint(G); i += 32) {
    const float v = float(w[first + i]);
    lo = min(lo, v);
    hi = max(hi, v);
  }
  lo = simd_min(lo);
  hi = simd_max(hi);
  const bool low_end = abs(lo) > abs(hi);
  float scale = max((hi - lo) / bins, 1e-7f), bias = 0.0f;
  scale = low_end ? scale : -scale;
  const float edge = low_end ? lo : hi, code_of_edge = rint(edge / scale);
  if (code_of_edge != 0.0f) {
    scale = edge / code_of_edge;
    bias = edge;
  }
  const uint words = G * BITS / 32;
  if (g < uint(GROUPS)) {
    for (uint k = lane; k < words; k += 32) {
      uint word = 0;
      for (uint i = 32 * k / BITS; i * BITS < 32 * k + 32; i++) {  // also the code that began in the word before
        const float q = rint((float(w[first + i]) - bias) / scale);
        const uint code = uint(min(max(q, 0.0f), bins));
        word |= i * BITS < 32 * k ? code >> (32 * k - i * BITS) : code << (i * BITS - 32 * k);
      }
      wq[size_t(g) * words + k] = word;
    }
    if (lane == 0) {
      scales[g] = T(scale);
      biases[g] = T(bias);
    }
  }
