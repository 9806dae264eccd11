// q5_k: as q4_k, and qh[32] before the nibbles: bit g of byte l is the fifth bit of weight l of group g. 176 = 4 * 44.
struct Format {
  enum { WEIGHTS = 256, BYTES = 176, ALIGN = 4 };
  enum { RUN = 16, SPAN = 2, STRIDE = 32 };
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

  // Bits below bit 23 as a whole float, less `zero`: no conversion, whose pipe on Apple GPUs is a quarter as wide.
  METAL_FUNC float code(uint bits, float zero) const { return as_type<float>(bits | 0x4b000000u) - zero; }

  METAL_FUNC float dot(size_t row, uint first, thread float* x, thread float* sums) const {
    const device uint8_t* block = w + (row * (columns / WEIGHTS) + first / WEIGHTS) * BYTES;
    const uint pair = first % WEIGHTS / 64;
    const device ushort* s = (const device ushort*)(block + 4) + (pair & 1);
    const uint a = s[0], b = s[2], c = s[4];
    const uint scale = pair < 2 ? a & 0x3f3f : (c & 0x0f0f) | ((a & 0xc0c0) >> 2);
    const uint least = pair < 2 ? b & 0x3f3f : ((c >> 4) & 0x0f0f) | ((b & 0xc0c0) >> 2);
    const device uint* fifth = (const device uint*)(block + 16 + first % 32);
    const device uint* q = (const device uint*)(block + 48 + 32 * pair + first % 32);
    float s0 = 0.0f, s1 = 0.0f, s2 = 0.0f, s3 = 0.0f;
    for (uint i = 0; i < 8; i++) {
      const uint v = i & 1 ? q[i >> 1] >> 16 : q[i >> 1], h = fifth[i >> 1] >> (2 * pair + 16 * (i & 1));
      const uint low = (v & 0x0f0f) | ((h & 0x0101) << 4), high = (v & 0xf0f0) | ((h & 0x0202) << 7);
      s0 += code(low & 0x001f, 8388608.0f) * x[2 * i];
      s1 += code(high & 0x01f0, 8388608.0f) * x[2 * i + 16];
      s2 += code(low & 0x1f00, 8388608.0f) * x[2 * i + 1];
      s3 += code(high & 0x1f000, 8388608.0f) * x[2 * i + 17];
    }
    const float low = float(scale & 255) * (s0 + 0.00390625f * s2), high = float(scale >> 8) * (s1 + 0.00390625f * s3);
    const float m = float(least & 255) * sums[0] + float(least >> 8) * sums[1];
    return float(*(const device half*)block) * (low + 0.0625f * high) - float(*(const device half*)(block + 2)) * m;
  }
};
