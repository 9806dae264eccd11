// AQLM: blocks of OG rows and IG inputs, each the sum of a vector of every one of BOOKS codebooks of 2^BITS vectors,
// under a scale for the rows of a block. An index is a C, taken modulo 2^BITS.
// constants: BOOKS, BITS, OG, IG, C, S, V
struct Format {
  const device C* w;
  const device V* books;
  const device S* scales;
  uint rows, columns;

  METAL_FUNC void decode16(size_t row, uint c, thread float* out) const {
    const device V* book = books + (row / rows) * (size_t(BOOKS * OG * IG) << BITS) + row % OG * IG;
    const device C* codes = w + row / OG * (columns / IG) * BOOKS;
    const float scale = float(scales[row / OG]);
    for (uint k = 0; k < 16; k++) {
      const uint column = 16 * c + k;
      float sum = 0.0f;
      for (uint b = 0; b < BOOKS; b++) {
        const uint index = uint(codes[column / IG * BOOKS + b]) & ((1 << BITS) - 1);
        sum += float(book[size_t((b << BITS) + index) * (OG * IG) + column % IG]);
      }
      out[k] = sum * scale;
    }
  }
};
