// iq2_xxs: fp16 d; per 32 weights four grid numbers (bytes) and a word: 4 * 7 sign bits, the eighth making their number
// even, and a 4-bit scale. Loads of 2 bytes: 66 is no multiple of 4. `grid`: two words of 4 bytes a vector.
struct Format {
  enum { WEIGHTS = 256, BYTES = 66, ALIGN = 2 };
  const device uint8_t* w;
  const device uint* grid;
  uint rows, columns;

  // 16 weights, number `chunk` of the block: two vectors of 8.
  METAL_FUNC void decode16(size_t row, uint c, thread float* out) const {
    const device uint8_t* block = w + (row * (columns / WEIGHTS) + c / (WEIGHTS / 16)) * BYTES;
    const uint chunk = c % (WEIGHTS / 16);
    const device ushort* q = (const device ushort*)(block + 2 + 8 * (chunk >> 1));
    const uint numbers = q[chunk & 1], upper = uint(q[2]) | (uint(q[3]) << 16);
    const float d = float(*(const device half*)block) * (float(upper >> 28) + 0.5f) * 0.25f;
    for (uint v = 0; v < 2; v++) {
      uint signs = (upper >> (14 * (chunk & 1) + 7 * v)) & 127;
      const uint folded = signs ^ (signs >> 4);
      signs |= ((0x6996u >> (folded & 15)) & 1) << 7;
      const device uint* vector = grid + 2 * ((numbers >> (8 * v)) & 255);
      for (uint k = 0; k < 8; k++) {
        const float weight = d * float((vector[k >> 2] >> (8 * (k & 3))) & 255);
        out[8 * v + k] = signs & (1u << k) ? -weight : weight;
      }
    }
  }
};
