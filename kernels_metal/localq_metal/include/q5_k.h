// q5_k: as q4_k, and qh[32] before the nibbles: bit g of byte l is the fifth bit of weight l of group g. 176 = 4 * 44.
struct Format {
  enum { WEIGHTS = 256, BYTES = 176, ALIGN = 4 };
  const device uint8_t* w;
  uint rows, columns;

  METAL_FUNC void decode16(size_t row, uint c, thread float* out) const {
    const device uint8_t* block = w + (row * (columns / WEIGHTS) + c / (WEIGHTS / 16)) * BYTES;
    const uint chunk = c % (WEIGHTS / 16);
    const device uint8_t* s = block + 4;
    const uint group = chunk >> 1;
    uint scale, minimum;
    if (group < 4) {
      scale = s[group] & 63;
      minimum = s[group + 4] & 63;
    } else {
      scale = (s[group + 4] & 15) | ((s[group - 4] >> 6) << 4);
      minimum = (s[group + 4] >> 4) | ((s[group] >> 6) << 4);
    }
    const float d = float(*(const device half*)block) * float(scale);
    const float m = float(*(const device half*)(block + 2)) * float(minimum);
    const device uint* high = (const device uint*)(block + 16 + 16 * (chunk & 1));
    const device uint* low = (const device uint*)(block + 48 + 32 * (group >> 1) + 16 * (chunk & 1));
    for (uint i = 0; i < 4; i++) {
      const uint codes = ((low[i] >> (4 * (group & 1))) & 0x0f0f0f0f) | (((high[i] >> group) & 0x01010101) << 4);
      for (uint k = 0; k < 4; k++) out[4 * i + k] = d * float((codes >> (8 * k)) & 31) - m;
    }
  }
};
