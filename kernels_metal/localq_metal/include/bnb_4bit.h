// bitsandbytes' 4-bit codes, the high nibble of a byte first, into a table of 16 values of each matrix; a float scale
// for GROUP weights, counted through the rows of a matrix. Loads of 4 bytes.
// constants: GROUP
struct Format {
  const device uint* w;
  const device float* values;
  const device float* absmax;
  uint rows, columns;

  METAL_FUNC float scale(size_t row, uint column) const {
    const size_t matrix = row / rows, blocks = (size_t(rows) * columns + GROUP - 1) / GROUP;
    return absmax[matrix * blocks + ((row % rows) * columns + column) / GROUP];
  }

  METAL_FUNC void decode16(size_t row, uint c, thread float* out) const {
    const device float* table = values + 16 * (row / rows);
    const float by = scale(row, 16 * c);
    const device uint* q = w + row * (columns / 8) + 2 * c;
    for (uint k = 0; k < 16; k++) out[k] = table[(q[k / 8] >> (8 * (k / 2 % 4) + 4 * (1 - k % 2))) & 15] * by;
  }

  enum { RUN = 16, SPAN = 1, STRIDE = 16 };
  METAL_FUNC float dot(size_t row, uint first, thread float* x, thread float* sums) const {
    const device float* table = values + 16 * (row / rows);
    const device uint* q = w + row * (columns / 8) + first / 8;
    float s = 0.0f;
    for (uint k = 0; k < 16; k++) s += table[(q[k / 8] >> (8 * (k / 2 % 4) + 4 * (1 - k % 2))) & 15] * x[k];
    return s * scale(row, first);
  }
};
