// q4_1: fp16 d, fp16 minimum, 16 bytes of nibbles (weight j low, weight j + 16 high). Loads of 4 bytes: 20 = 4 * 5.
struct Format {
  enum { WEIGHTS = 32, BYTES = 20, ALIGN = 4 };
  enum { RUN = 16, SPAN = 2, STRIDE = 16 };
  const device uint8_t* w;
  uint rows, columns;

  // 16 weights, number `chunk` of the block: the low or the high nibbles.
  METAL_FUNC void decode16(size_t row, uint c, thread float* out) const {
    const device uint8_t* block = w + (row * (columns / WEIGHTS) + c / (WEIGHTS / 16)) * BYTES;
    const uint chunk = c % (WEIGHTS / 16);
    const float d = float(*(const device half*)block), m = float(*(const device half*)(block + 2));
    const device uint* q = (const device uint*)(block + 4);
    for (uint i = 0; i < 4; i++) {
      const uint codes = q[i] >> (4 * chunk);
      for (uint k = 0; k < 4; k++) out[4 * i + k] = d * float((codes >> (8 * k)) & 15) + m;
    }
  }

  // Bits below bit 23 as a whole float, less `zero`: no conversion, whose pipe on Apple GPUs is a quarter as wide.
  METAL_FUNC float code(uint bits, float zero) const { return as_type<float>(bits | 0x4b000000u) - zero; }

  METAL_FUNC float dot(size_t row, uint first, thread float* x, thread float* sums) const {
    const device uint8_t* block = w + (row * (columns / WEIGHTS) + first / WEIGHTS) * BYTES;
    const device uint* q = (const device uint*)(block + 4);
    float s0 = 0.0f, s1 = 0.0f, s2 = 0.0f, s3 = 0.0f;
    for (uint i = 0; i < 8; i++) {
      const uint v = i & 1 ? q[i >> 1] >> 16 : q[i >> 1];
      s0 += code(v & 0x000f, 8388608.0f) * x[2 * i];
      s1 += code(v & 0x00f0, 8388608.0f) * x[2 * i + 16];
      s2 += code(v & 0x0f00, 8388608.0f) * x[2 * i + 1];
      s3 += code(v & 0xf000, 8388608.0f) * x[2 * i + 17];
    }
    const float d = float(*(const device half*)block), m = float(*(const device half*)(block + 2));
    return d * (s0 + 0.0625f * s1 + 0.00390625f * (s2 + 0.0625f * s3)) + m * (sums[0] + sums[1]);
  }
};
