// 8-bit floats, E4M3 (NaN, no infinity) or E5M2, under a scale for ROWS rows and COLUMNS columns of a matrix, the last
// ones cut off; INVERSE: the scale divides. A code becomes a half: E5M2 is its upper byte, E4M3 has the same mantissa and an exponent lower by 8.
// constants: E5M2, ROWS, COLUMNS, INVERSE, S
struct Format {
  const device uint* w;
  const device S* scales;
  uint rows, columns;

  // What a code stands for, E4M3 divided by 256.
  METAL_FUNC float small(uint code) const {
    const uint size = code & 127;
    const uint bits = E5M2 ? code << 8 : size == 127 ? 0x7e00 : (size << 7) | ((code & 128) << 8);
    return float(as_type<half>(ushort(bits)));
  }

  METAL_FUNC float scale(size_t row, uint column) const {
    const size_t line = (row / rows) * ((rows + ROWS - 1) / ROWS) + row % rows / ROWS;
    return float(scales[line * ((columns + COLUMNS - 1) / COLUMNS) + column / COLUMNS]);
  }

  METAL_FUNC void decode16(size_t row, uint c, thread float* out) const {
    const float unit = E5M2 ? 1.0f : 256.0f, by = scale(row, 16 * c);
    const device uint* q = w + row * (columns / 4) + 4 * c;
    for (uint k = 0; k < 16; k++) {
      const float v = small((q[k / 4] >> (k % 4 * 8)) & 255) * unit;
      out[k] = INVERSE ? v / by : v * by;
    }
  }

  enum { RUN = 16, SPAN = 1, STRIDE = 16 };
  METAL_FUNC float dot(size_t row, uint first, thread float* x, thread float* sums) const {
    const device uint* q = w + row * (columns / 4) + first / 4;
    float s = 0.0f;
    for (uint k = 0; k < 16; k++) s += small((q[k / 4] >> (k % 4 * 8)) & 255) * x[k];
    const float by = scale(row, first), sum = s * (E5M2 ? 1.0f : 256.0f);
    return INVERSE ? sum / by : sum * by;
  }
};
