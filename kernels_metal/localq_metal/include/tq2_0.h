// tq2_0: qs[64] of 2-bit codes, fp16 d; weight = d * (code - 1). Loads of 2 bytes: 66 is no multiple of 4.
struct Format {
  enum { WEIGHTS = 256, BYTES = 66, ALIGN = 2 };
  const device uint8_t* w;
  uint rows, columns;

  // 16 weights, number `chunk` of the block: one pair of bits of 16 bytes.
  METAL_FUNC void decode16(size_t row, uint c, thread float* out) const {
    const device uint8_t* block = w + (row * (columns / WEIGHTS) + c / (WEIGHTS / 16)) * BYTES;
    const uint chunk = c % (WEIGHTS / 16);
    const float d = float(*(const device half*)(block + 64));
    const device ushort* q = (const device ushort*)(block + 32 * (chunk >> 3) + 16 * (chunk & 1));
    const uint shift = 2 * ((chunk >> 1) & 3);
    for (uint i = 0; i < 8; i++) {
      const uint codes = uint(q[i]) >> shift;
      out[2 * i] = d * float(int(codes & 3) - 1);
      out[2 * i + 1] = d * float(int((codes >> 8) & 3) - 1);
    }
  }
};
