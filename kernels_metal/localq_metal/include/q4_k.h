// q4_k: fp16 d, fp16 dmin, 12 bytes of 6-bit scales and minima, 128 bytes of nibbles. Loads of 4 bytes: 144 = 4 * 36.
struct Format {
  enum { WEIGHTS = 256, BYTES = 144, ALIGN = 4 };
  enum { RUN = 16, SPAN = 2, STRIDE = 32 };
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

  // Bits below bit 23 as a whole float, less `zero`: no conversion, whose pipe on Apple GPUs is a quarter as wide.
  METAL_FUNC float code(uint bits, float zero) const { return as_type<float>(bits | 0x4b000000u) - zero; }

  METAL_FUNC float dot(size_t row, uint first, thread float* x, thread float* sums) const {
    const device uint8_t* block = w + (row * (columns / WEIGHTS) + first / WEIGHTS) * BYTES;
    const uint pair = first % WEIGHTS / 64;
    const device ushort* s = (const device ushort*)(block + 4) + (pair & 1);
    const uint a = s[0], b = s[2], c = s[4];
    const uint scale = pair < 2 ? a & 0x3f3f : (c & 0x0f0f) | ((a & 0xc0c0) >> 2);
    const uint least = pair < 2 ? b & 0x3f3f : ((c >> 4) & 0x0f0f) | ((b & 0xc0c0) >> 2);
    const device uint* q = (const device uint*)(block + 16 + 32 * pair + first % 32);
    float s0 = 0.0f, s1 = 0.0f, s2 = 0.0f, s3 = 0.0f;
    for (uint i = 0; i < 8; i++) {
      const uint v = i & 1 ? q[i >> 1] >> 16 : q[i >> 1];
      s0 += code(v & 0x000f, 8388608.0f) * x[2 * i];
      s1 += code(v & 0x00f0, 8388608.0f) * x[2 * i + 16];
      s2 += code(v & 0x0f00, 8388608.0f) * x[2 * i + 1];
      s3 += code(v & 0xf000, 8388608.0f) * x[2 * i + 17];
    }
    const float low = float(scale & 255) * (s0 + 0.00390625f * s2), high = float(scale >> 8) * (s1 + 0.00390625f * s3);
    const float m = float(least & 255) * sums[0] + float(least >> 8) * sums[1];
    return float(*(const device half*)block) * (low + 0.0625f * high) - float(*(const device half*)(block + 2)) * m;
  }
};
