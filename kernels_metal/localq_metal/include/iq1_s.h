// iq1_s: fp16 d, low 8 bits of 32 grid numbers, 8 words of 4 * 3 high bits, a 3-bit scale and the sign of the shift.
// Loads of 2 bytes: 50 is no multiple of 4. `grid`: 8 codes of 2 bits a vector, 0, 1 or 2 for -1, 0 or 1.
struct Format {
  enum { WEIGHTS = 256, BYTES = 50, ALIGN = 2 };
  const device uint8_t* w;
  const device ushort* grid;
  uint rows, columns;

  // 16 weights, number `chunk` of the block: two vectors of 8.
  METAL_FUNC void decode16(size_t row, uint c, thread float* out) const {
    const device uint8_t* block = w + (row * (columns / WEIGHTS) + c / (WEIGHTS / 16)) * BYTES;
    const uint chunk = c % (WEIGHTS / 16);
    const uint low = ((const device ushort*)(block + 2))[chunk];
    const uint high = ((const device ushort*)(block + 34))[chunk >> 1];
    const float d = float(*(const device half*)block) * float(2 * ((high >> 12) & 7) + 1);
    const float shift = high & 0x8000 ? -1.125f : -0.875f;
    for (uint v = 0; v < 2; v++) {
      const uint top = (high >> (6 * (chunk & 1) + 3 * v)) & 7;
      const uint codes = grid[((low >> (8 * v)) & 255) | (top << 8)];
      for (uint k = 0; k < 8; k++) out[8 * v + k] = d * (float((codes >> (2 * k)) & 3) + shift);
    }
  }
};
