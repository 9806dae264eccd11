
  // For formats that say nothing better: a piece is 16 weights, decoded first.
  enum { RUN = 16, SPAN = 1, STRIDE = 16 };
  METAL_FUNC float dot(size_t row, uint first, thread float* x, thread float* sums) const {
    float v[16], s = 0.0f;
    decode16(row, first / 16, v);
    for (uint k = 0; k < 16; k++) s += v[k] * x[k];
    return s;
  }
