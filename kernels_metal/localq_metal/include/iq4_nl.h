// iq4_nl: fp16 d, 16 bytes of table codes (weight j low, weight j + 16 high). Loads of 2 bytes: 18 is no multiple of 4.
constant int8_t lq_iq4_values[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

struct Format {
  enum { WEIGHTS = 32, BYTES = 18, ALIGN = 2 };

  // 16 weights, number `chunk` of the block: the low or the high nibbles.
  static METAL_FUNC void decode16(const device uint8_t* block, uint chunk, thread float* out) {
    const float d = float(*(const device half*)block);
    const device ushort* q = (const device ushort*)(block + 2);
    for (uint i = 0; i < 8; i++) {
      const uint codes = uint(q[i]) >> (4 * chunk);
      out[2 * i] = d * float(lq_iq4_values[codes & 15]);
      out[2 * i + 1] = d * float(lq_iq4_values[(codes >> 8) & 15]);
    }
  }
};
