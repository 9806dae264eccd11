// iq4_xs: fp16 d, high scale bits (2 bytes), low scale bits (4 bytes), 128 bytes of table codes. 136 = 4 * 34.
constant int8_t lq_iq4_values[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

struct Format {
  enum { WEIGHTS = 256, BYTES = 136, ALIGN = 4 };
  const device uint8_t* w;
  uint rows, columns;

  // 16 weights, number `chunk` of the block: the low or the high nibbles of a group of 32.
  METAL_FUNC void decode16(size_t row, uint c, thread float* out) const {
    const device uint8_t* block = w + (row * (columns / WEIGHTS) + c / (WEIGHTS / 16)) * BYTES;
    const uint chunk = c % (WEIGHTS / 16);
    const uint group = chunk >> 1;
    const uint high = *(const device ushort*)(block + 2), low = block[4 + (group >> 1)];
    const int scale = int(((low >> (4 * (group & 1))) & 15) | (((high >> (2 * group)) & 3) << 4)) - 32;
    const float d = float(*(const device half*)block) * float(scale);
    const device uint* q = (const device uint*)(block + 8 + 16 * group);
    for (uint i = 0; i < 4; i++) {
      const uint codes = q[i] >> (4 * (chunk & 1));
      for (uint k = 0; k < 4; k++) out[4 * i + k] = d * float(lq_iq4_values[(codes >> (8 * k)) & 15]);
    }
  }
};
