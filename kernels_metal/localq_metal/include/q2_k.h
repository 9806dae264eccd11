// q2_k: 16 bytes of 4-bit scales and minima, qs[64], fp16 d, fp16 dmin. Loads of 4 bytes: 84 = 4 * 21.
struct Format {
  enum { WEIGHTS = 256, BYTES = 84, ALIGN = 4 };
  const device uint8_t* w;
  uint rows, columns;

  // 16 weights, number `chunk` of the block: one scale's worth.
  METAL_FUNC void decode16(size_t row, uint c, thread float* out) const {
    const device uint8_t* block = w + (row * (columns / WEIGHTS) + c / (WEIGHTS / 16)) * BYTES;
    const uint chunk = c % (WEIGHTS / 16);
    const uint packed = block[chunk], shift = 2 * ((chunk >> 1) & 3);
    const float d = float(*(const device half*)(block + 80)) * float(packed & 15);
    const float m = float(*(const device half*)(block + 82)) * float(packed >> 4);
    const device uint* q = (const device uint*)(block + 16 + 32 * (chunk >> 3) + 16 * (chunk & 1));
    for (uint i = 0; i < 4; i++) {
      const uint codes = q[i] >> shift;
      for (uint k = 0; k < 4; k++) out[4 * i + k] = d * float((codes >> (8 * k)) & 3) - m;
    }
  }
};
