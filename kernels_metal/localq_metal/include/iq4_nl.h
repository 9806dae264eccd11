// iq4_nl: fp16 d, 16 bytes of table codes (weight j low, weight j + 16 high). Loads of 2 bytes: 18 is no multiple of 4.
constant int8_t lq_iq4_values[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

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
      out[2 * i] = d * float(lq_iq4_values[codes & 15]);
      out[2 * i + 1] = d * float(lq_iq4_values[(codes >> 8) & 15]);
    }
  }
};
