// q4_0: fp16 d, 16 bytes of nibbles (weight j low, weight j + 16 high). Loads of 2 bytes: 18 is no multiple of 4.
struct Format {
  enum { WEIGHTS = 32, BYTES = 18, ALIGN = 2 };
  const device uint8_t* w;
  uint rows, columns;

  // 16 weights, number `chunk` of the block: the low or the high nibbles.
  METAL_FUNC void decode16(size_t row, uint c, thread float* out) const {
    const device uint8_t* block = w + (row * (columns / WEIGHTS) + c / (WEIGHTS / 16)) * BYTES;
    const uint chunk = c % (WEIGHTS / 16);
    const float d = float(*(const device half*)block);
    const device ushort* q = (const device ushort*)(block + 2);
    for (uint i = 0; i < 8; i++) {
      const uint codes = uint(q[i]) >> (4 * chunk);
      out[2 * i] = d * float(int(codes & 15) - 8);
      out[2 * i + 1] = d * float(int((codes >> 8) & 15) - 8);
    }
  }
};
