// bitsandbytes' 4-bit codes, the high nibble of a byte first, into a table of 16 values of each matrix; a float scale
// for GROUP weights, counted through the rows of a matrix. Loads of 4 bytes.
// constants: GROUP
struct Format {
  const device uint* w;
  const device float* values;
  const device float* absmax;
  uint rows, columns;

  METAL_FUNC void decode16(size_t row, uint c, thread float* out) const {
    const size_t matrix = row / rows, blocks = (size_t(rows) * columns + GROUP - 1) / GROUP;
    const float scale = absmax[matrix * blocks + ((row % rows) * columns + 16 * c) / GROUP];
    const device uint* q = w + row * (columns / 8) + 2 * c;
    for (uint k = 0; k < 16; k++) {
      const uint code = (q[k / 8] >> (8 * (k / 2 % 4) + 4 * (1 - k % 2))) & 15;
      out[k] = values[16 * matrix + code] * scale;
    }
  }
};
