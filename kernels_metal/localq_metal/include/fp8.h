// 8-bit floats, E4M3 (NaN, no infinity) or E5M2, under a scale for ROWS rows and COLUMNS columns of a matrix, the last
// ones cut off. A code becomes a half: E5M2 is its upper byte, E4M3 has the same mantissa and an exponent lower by 8.
// constants: E5M2, ROWS, COLUMNS, S
struct Format {
  const device uint* w;
  const device S* scales;
  uint rows, columns;

  METAL_FUNC void decode16(size_t row, uint c, thread float* out) const {
    const size_t line = (row / rows) * ((rows + ROWS - 1) / ROWS) + row % rows / ROWS;
    const float scale = float(scales[line * ((columns + COLUMNS - 1) / COLUMNS) + 16 * c / COLUMNS]);
    const device uint* q = w + row * (columns / 4) + 4 * c;
    for (uint i = 0; i < 4; i++) {
      for (uint k = 0; k < 4; k++) {
        const uint code = (q[i] >> (8 * k)) & 255, size = code & 127;
        const uint bits = E5M2 ? code << 8 : size == 127 ? 0x7e00 : (size << 7) | ((code & 128) << 8);
        out[4 * i + k] = float(as_type<half>(ushort(bits))) * (E5M2 ? 1.0f : 256.0f) * scale;
      }
    }
  }
};
