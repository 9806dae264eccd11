// iq1_m: low 8 bits of 32 grid numbers, nibbles of 3 high bits and the sign of a shift, 4 words of four 3-bit scales
// and, on top, four bits of an fp16 d. Loads of 2 bytes; a block is 8 * 7. `grid`: 8 codes of 2 bits a vector, 0, 1 or
// 2 for -1, 0 or 1.
struct Format {
  enum { WEIGHTS = 256, BYTES = 56, ALIGN = 2 };
  const device uint8_t* w;
  const device ushort* grid;
  uint rows, columns;

  // 16 weights, number `chunk` of the block: one scale's worth, two vectors of 8.
  METAL_FUNC void decode16(size_t row, uint c, thread float* out) const {
    const device uint8_t* block = w + (row * (columns / WEIGHTS) + c / (WEIGHTS / 16)) * BYTES;
    const uint chunk = c % (WEIGHTS / 16);
    const device ushort* s = (const device ushort*)(block + 48);
    const uint d16 = (uint(s[0]) >> 12) | ((uint(s[1]) >> 8) & 0x00f0) | ((uint(s[2]) >> 4) & 0x0f00) | (s[3] & 0xf000);
    const float d = float(as_type<half>(ushort(d16))) * float(2 * ((uint(s[chunk >> 2]) >> (3 * (chunk & 3))) & 7) + 1);
    const uint low = ((const device ushort*)block)[chunk], high = block[32 + chunk];
    for (uint v = 0; v < 2; v++) {
      const uint top = high >> (4 * v);
      const uint codes = grid[((low >> (8 * v)) & 255) | ((top & 7) << 8)];
      const float shift = top & 8 ? -1.125f : -0.875f;
      for (uint k = 0; k < 8; k++) out[8 * v + k] = d * (float((codes >> (2 * k)) & 3) + shift);
    }
  }
};
