// Sparse weights: of each 16 of a row those with a bit in `mask` are stored, one after another in `w`, the others are
// zero. REGULAR: two of every four are, so that their places are known; else `starts` has, for each 16, the place of the
// first among the COUNT of a matrix. E4M3: `w` has 8-bit floats. SCALED: a scale for every row.
// constants: REGULAR, E4M3, SCALED, COUNT, C, S
struct Format {
  const device C* w;
  const device ushort* mask;
  const device uint* starts;
  const device S* scales;
  uint rows, columns;

  METAL_FUNC float value(size_t at) const {
    if (!E4M3) return float(w[at]);
    const uint code = uint(w[at]), size = code & 127;
    return 256.0f * float(as_type<half>(ushort(size == 127 ? 0x7e00 : (size << 7) | ((code & 128) << 8))));
  }

  METAL_FUNC void decode16(size_t row, uint c, thread float* out) const {
    const size_t chunk = row * (columns / 16) + c;
    const uint kept = mask[chunk];
    size_t at = REGULAR ? 8 * chunk : (row / rows) * size_t(COUNT) + starts[chunk];
    const float by = SCALED ? float(scales[row]) : 1.0f;
    for (uint k = 0; k < 16; k++) {
      const bool stored = ((kept >> k) & 1) == 1;
      out[k] = stored ? value(at) * by : 0.0f;
      at += stored ? 1 : 0;
    }
  }
};
