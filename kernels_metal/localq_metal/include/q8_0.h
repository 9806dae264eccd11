// q8_0: fp16 d, 32 int8 codes. Loads of 2 bytes: 34 is no multiple of 4.
struct Format {
  enum { WEIGHTS = 32, BYTES = 34, ALIGN = 2 };
  const device uint8_t* w;
  uint rows, columns;

  // 16 weights, number `chunk` of the block.
  METAL_FUNC void decode16(size_t row, uint c, thread float* out) const {
    const device uint8_t* block = w + (row * (columns / WEIGHTS) + c / (WEIGHTS / 16)) * BYTES;
    const uint chunk = c % (WEIGHTS / 16);
    const float d = float(*(const device half*)block);
    const device ushort* q = (const device ushort*)(block + 2 + 16 * chunk);
    for (uint i = 0; i < 8; i++) {
      out[2 * i] = d * float(int(int8_t(q[i] & 255)));
      out[2 * i + 1] = d * float(int(int8_t(q[i] >> 8)));
    }
  }
};
