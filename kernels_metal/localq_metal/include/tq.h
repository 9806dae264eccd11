// TQ between its rotations: codes of BITS bits into a table of levels, under an fp16 norm for 128 weights; `unit` is
// 1 / sqrt(128). Loads of 2 bytes.
// constants: BITS
struct Format {
  const device ushort* w;
  const device half* norms;
  const device float* levels;
  uint rows, columns;

  METAL_FUNC float norm(size_t row, uint c) const {
    const float unit = as_type<float>(0x3db504f3u);
    return float(norms[row * (columns / 128) + c / 8]) * unit;
  }

  METAL_FUNC float level(const device ushort* q, uint k) const {
    const uint at = k * BITS / 16, shift = k * BITS % 16;
    const uint next = shift + BITS > 16 ? uint(q[at + 1]) << 16 : 0;
    return levels[((uint(q[at]) | next) >> shift) & ((1 << BITS) - 1)];
  }

  METAL_FUNC void decode16(size_t row, uint c, thread float* out) const {
    const float by = norm(row, c);
    const device ushort* q = w + (row * (columns / 16) + c) * BITS;
    for (uint k = 0; k < 16; k++) out[k] = level(q, k) * by;
  }

  enum { RUN = 16, SPAN = 1, STRIDE = 16 };
  METAL_FUNC float dot(size_t row, uint first, thread float* x, thread float* sums) const {
    const device ushort* q = w + (row * (columns / 16) + first / 16) * BITS;
    float s = 0.0f;
    for (uint k = 0; k < 16; k++) s += level(q, k) * x[k];
    return s * norm(row, first / 16);
  }
};
