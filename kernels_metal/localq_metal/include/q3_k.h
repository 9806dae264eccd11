// q3_k: hmask[32], qs[64], 12 bytes of 6-bit scales, fp16 d. Loads of 2 bytes: 110 is no multiple of 4.
struct Format {
  enum { WEIGHTS = 256, BYTES = 110, ALIGN = 2 };
  const device uint8_t* w;
  uint rows, columns;

  // 16 weights, number `chunk` of the block: one scale's worth.
  METAL_FUNC void decode16(size_t row, uint c, thread float* out) const {
    const device uint8_t* block = w + (row * (columns / WEIGHTS) + c / (WEIGHTS / 16)) * BYTES;
    const uint chunk = c % (WEIGHTS / 16);
    const device uint8_t* s = block + 96;
    const uint run = (chunk >> 1) & 3, at = 16 * (chunk & 1);
    const uint low4 = (uint(s[chunk & 7]) >> (4 * (chunk >> 3))) & 15;
    const uint high2 = (uint(s[8 + (chunk & 3)]) >> (2 * (chunk >> 2))) & 3;
    const float d = float(*(const device half*)(block + 108)) * float(int(low4 | (high2 << 4)) - 32);
    const device ushort* q = (const device ushort*)(block + 32 + 32 * (chunk >> 3) + at);
    const device ushort* mask = (const device ushort*)(block + at);
    for (uint i = 0; i < 8; i++) {
      const uint high = (uint(mask[i]) >> (4 * (chunk >> 3) + run)) & 0x0101;
      const uint codes = ((uint(q[i]) >> (2 * run)) & 0x0303) | (high << 2);
      out[2 * i] = d * float(int(codes & 7) - 4);
      out[2 * i + 1] = d * float(int(codes >> 8) - 4);
    }
  }
};
