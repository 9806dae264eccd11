// q6_k: ql[128], qh[64], int8 scales[16], fp16 d. Loads of 2 bytes: a block of 210 bytes is no multiple of 4.
struct Format {
  enum { WEIGHTS = 256, BYTES = 210, ALIGN = 2 };
  const device uint8_t* w;
  uint rows, columns;

  // 16 weights, number `chunk` of the block: one scale's worth.
  METAL_FUNC void decode16(size_t row, uint c, thread float* out) const {
    const device uint8_t* block = w + (row * (columns / WEIGHTS) + c / (WEIGHTS / 16)) * BYTES;
    const uint chunk = c % (WEIGHTS / 16);
    const uint part = chunk >> 3, run = (chunk >> 1) & 3, at = 16 * (chunk & 1);
    const float d = float(*(const device half*)(block + 208)) * float(((const device int8_t*)(block + 192))[chunk]);
    const device ushort* low = (const device ushort*)(block + 64 * part + 32 * (run & 1) + at);
    const device ushort* high = (const device ushort*)(block + 128 + 32 * part + at);
    for (uint i = 0; i < 8; i++) {
      const uint codes = ((uint(low[i]) >> (4 * (run >> 1))) & 0x0f0f) | (((uint(high[i]) >> (2 * run)) & 0x0303) << 4);
      out[2 * i] = d * float(int(codes & 255) - 32);
      out[2 * i + 1] = d * float(int(codes >> 8) - 32);
    }
  }
};
