// q2_0: fp16 d, 16 bytes of 2-bit codes, weight = d * (code - 1). Loads of 2 bytes: 18 is no multiple of 4.
struct Format {
  enum { WEIGHTS = 64, BYTES = 18, ALIGN = 2 };
  enum { RUN = 32, SPAN = 1, STRIDE = 32 };
  const device uint8_t* w;
  uint rows, columns;

  // 16 weights, number `chunk` of the block: two loads.
  METAL_FUNC void decode16(size_t row, uint c, thread float* out) const {
    const device uint8_t* block = w + (row * (columns / WEIGHTS) + c / (WEIGHTS / 16)) * BYTES;
    const uint chunk = c % (WEIGHTS / 16);
    const float d = float(*(const device half*)block);
    const device ushort* q = (const device ushort*)(block + 2 + 4 * chunk);
    for (uint i = 0; i < 2; i++) {
      const uint codes = q[i];
      for (uint k = 0; k < 8; k++) out[8 * i + k] = d * float(int((codes >> (2 * k)) & 3) - 1);
    }
  }

  // Bits below bit 23 as a whole float, less `zero`: no conversion, whose pipe on Apple GPUs is a quarter as wide.
  METAL_FUNC float code(uint bits, float zero) const { return as_type<float>(bits | 0x4b000000u) - zero; }

  METAL_FUNC float dot(size_t row, uint first, thread float* x, thread float* sums) const {
    const device uint8_t* block = w + (row * (columns / WEIGHTS) + first / WEIGHTS) * BYTES;
    const device ushort* q = (const device ushort*)(block + 2 + first % WEIGHTS / 4);
    float s0 = 0.0f, s1 = 0.0f, s2 = 0.0f, s3 = 0.0f;
    for (uint i = 0; i < 8; i++) {
      const uint v = i & 1 ? uint(q[i >> 1]) >> 8 : q[i >> 1];
      s0 += code(v & 0x03, 8388609.0f) * x[4 * i];
      s1 += code(v & 0x0c, 8388612.0f) * x[4 * i + 1];
      s2 += code(v & 0x30, 8388624.0f) * x[4 * i + 2];
      s3 += code(v & 0xc0, 8388672.0f) * x[4 * i + 3];
    }
    return float(*(const device half*)block) * (s0 + 0.25f * s1 + 0.0625f * (s2 + 0.25f * s3));
  }
};
