// q4_0: fp16 d, 16 bytes of nibbles (weight j low, weight j + 16 high). Loads of 2 bytes: 18 is no multiple of 4.
struct Format {
  enum { WEIGHTS = 32, BYTES = 18, ALIGN = 2 };
  enum { RUN = 16, SPAN = 2, STRIDE = 16 };
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
      out[2 * i] = d * float(int(codes & 15) - 8);
      out[2 * i + 1] = d * float(int((codes >> 8) & 15) - 8);
    }
  }

  // Bits below bit 23 as a whole float, less `zero`: no conversion, whose pipe on Apple GPUs is a quarter as wide.
  METAL_FUNC float code(uint bits, float zero) const { return as_type<float>(bits | 0x4b000000u) - zero; }

  METAL_FUNC float dot(size_t row, uint first, thread float* x, thread float* sums) const {
    const device uint8_t* block = w + (row * (columns / WEIGHTS) + first / WEIGHTS) * BYTES;
    const device ushort* q = (const device ushort*)(block + 2);
    float s0 = 0.0f, s1 = 0.0f, s2 = 0.0f, s3 = 0.0f;
    for (uint i = 0; i < 8; i++) {
      const uint v = q[i];
      s0 += code(v & 0x000f, 8388616.0f) * x[2 * i];
      s1 += code(v & 0x00f0, 8388736.0f) * x[2 * i + 16];
      s2 += code(v & 0x0f00, 8390656.0f) * x[2 * i + 1];
      s3 += code(v & 0xf000, 8421376.0f) * x[2 * i + 17];
    }
    return float(*(const device half*)block) * (s0 + 0.0625f * s1 + 0.00390625f * (s2 + 0.0625f * s3));
  }
};
