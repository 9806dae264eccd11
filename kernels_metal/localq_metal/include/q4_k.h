// q4_k: fp16 d, fp16 dmin, 12 bytes of 6-bit scales and minima, 128 bytes of nibbles. Loads of 4 bytes: 144 = 4 * 36.
struct Format {
  enum { WEIGHTS = 256, BYTES = 144, ALIGN = 4 };
  const device uint8_t* w;
  uint rows, columns;

  // 16 weights, number `chunk` of the block: one half of a group of 32.
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
    const device uint* q = (const device uint*)(block + 16 + 32 * (group >> 1) + 16 * (chunk & 1));
    for (uint i = 0; i < 4; i++) {
      const uint codes = q[i] >> (4 * (group & 1));
      for (uint k = 0; k < 4; k++) out[4 * i + k] = d * float((codes >> (8 * k)) & 15) - m;
    }
  }
};
