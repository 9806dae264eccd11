// q2_0: fp16 d, 16 bytes of 2-bit codes, weight = d * (code - 1). Loads of 2 bytes: 18 is no multiple of 4.
struct Format {
  enum { WEIGHTS = 64, BYTES = 18, ALIGN = 2 };
  const device uint8_t* w;
  uint rows, columns;

  // 16 weights, number `chunk` of the block: two loads.
  METAL_FUNC void decode16(size_t row, uint c, thread float* out) const {
    const device uint8_t* block = w + (row * (columns / WEIGHTS) + c / (WEIGHTS / 16)) * BYTES;
    const uint chunk = c % (WEIGHTS / 16);
    const float d = float(*(const device half*)block);
    const device ushort* q = (const device ushort*)(block + 2 + 4 * chunk);
    for (uint i = 0; i < 2; i++) {
      const uint codes = q[i];
      for (uint k = 0; k < 8; k++) out[8 * i + k] = d * float(int((codes >> (2 * k)) & 3) - 1);
    }
  }
};
