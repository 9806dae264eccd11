// SpQR in its order of columns: 16 weights of a row lie in a word of 64 bits, two halves of it here: a scale and a zero
// of 3 bits, then 16 codes of 3. `second` has four halves (a, b, c, d) for 16 x 16 weights: scale = a * (s - c), zero =
// b * (z - d), weight = scale * (code - zero), each step rounded to half. Outliers (the column below, a half above) are
// added: those of 16 weights begin at their place in `starts`, of which a row has one more than it has sixteens; they
// are counted in each matrix, which has COUNT.
// constants: COUNT
struct Format {
  const device uint* w;
  const device half* second;
  const device uint* outliers;
  const device uint* starts;
  uint rows, columns;

  METAL_FUNC float rounded(float v) const { return float(half(v)); }

  METAL_FUNC void decode16(size_t row, uint c, thread float* out) const {
    const uint across = columns / 16;
    const size_t tile = (row / 16) * across + c, line = row * (across + 1) + c;
    const device uint* q = w + (tile * 16 + row % 16) * 2;
    const device half* order = second + 4 * tile;
    const uint low = q[0], high = q[1];
    const float scale = rounded(float(order[0]) * rounded(float(low & 7) - float(order[2])));
    const float zero = rounded(float(order[1]) * rounded(float((low >> 3) & 7) - float(order[3])));
    for (uint k = 0; k < 16; k++) {
      const uint bit = 3 * k + 6, above = bit % 32;
      const uint code = bit < 30 ? low >> bit : bit < 32 ? (low >> bit) | (high << (32 - bit)) : high >> above;
      out[k] = rounded(scale * rounded(float(code & 7) - zero));
    }
    for (uint i = starts[line]; i < starts[line + 1]; i++) {
      const uint outlier = outliers[(row / rows) * size_t(COUNT) + i];
      out[outlier % 16] += float(as_type<half>(ushort(outlier >> 16)));
    }
    for (uint k = 0; k < 16; k++) out[k] = rounded(out[k]);
  }
};
