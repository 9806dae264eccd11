// q5_1: fp16 d, fp16 minimum, 32 fifth bits, 16 bytes of nibbles (weight j low, j + 16 high). Loads of 4: 24 = 8 * 3.
struct Format {
  enum { WEIGHTS = 32, BYTES = 24, ALIGN = 4 };
  const device uint8_t* w;
  uint rows, columns;

  // 16 weights, number `chunk` of the block: the low or the high nibbles.
  METAL_FUNC void decode16(size_t row, uint c, thread float* out) const {
    const device uint8_t* block = w + (row * (columns / WEIGHTS) + c / (WEIGHTS / 16)) * BYTES;
    const uint chunk = c % (WEIGHTS / 16);
    const float d = float(*(const device half*)block), m = float(*(const device half*)(block + 2));
    const uint fifth = uint(((const device ushort*)(block + 4))[chunk]) << 4;
    const device uint* q = (const device uint*)(block + 8);
    for (uint i = 0; i < 4; i++) {
      const uint codes = q[i] >> (4 * chunk), high = fifth >> (4 * i);
      for (uint k = 0; k < 4; k++) out[4 * i + k] = d * float(((codes >> (8 * k)) & 15) | ((high >> k) & 16)) + m;
    }
  }
};
