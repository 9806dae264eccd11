// q5_0: fp16 d, 32 fifth bits, 16 bytes of nibbles (weight j low, weight j + 16 high). Loads of 2 bytes: 22 = 2 * 11.
struct Format {
  enum { WEIGHTS = 32, BYTES = 22, ALIGN = 2 };
  enum { RUN = 16, SPAN = 2, STRIDE = 16 };
  const device uint8_t* w;
  uint rows, columns;

  // 16 weights, number `chunk` of the block: the low or the high nibbles.
  METAL_FUNC void decode16(size_t row, uint c, thread float* out) const {
    const device uint8_t* block = w + (row * (columns / WEIGHTS) + c / (WEIGHTS / 16)) * BYTES;
    const uint chunk = c % (WEIGHTS / 16);
    const float d = float(*(const device half*)block);
    const uint fifth = uint(((const device ushort*)(block + 2))[chunk]) << 4;
    const device ushort* q = (const device ushort*)(block + 6);
    for (uint i = 0; i < 8; i++) {
      const uint codes = uint(q[i]) >> (4 * chunk), high = fifth >> (2 * i);
      out[2 * i] = d * float(int((codes & 15) | (high & 16)) - 16);
      out[2 * i + 1] = d * float(int(((codes >> 8) & 15) | ((high >> 1) & 16)) - 16);
    }
  }

  // Bits below bit 23 as a whole float, less `zero`: no conversion, whose pipe on Apple GPUs is a quarter as wide.
  METAL_FUNC float code(uint bits, float zero) const { return as_type<float>(bits | 0x4b000000u) - zero; }

  METAL_FUNC float dot(size_t row, uint first, thread float* x, thread float* sums) const {
    const device uint8_t* block = w + (row * (columns / WEIGHTS) + first / WEIGHTS) * BYTES;
    const device ushort* q = (const device ushort*)(block + 6);
    float s0 = 0.0f, s1 = 0.0f, s2 = 0.0f, s3 = 0.0f;
    const uint low = ((const device ushort*)(block + 2))[0], high = ((const device ushort*)(block + 2))[1];
    for (uint i = 0; i < 8; i++) {
      const uint v = q[i];
      s0 += code(v & 0x000f, low & (1u << (2 * i)) ? 8388608.0f : 8388624.0f) * x[2 * i];
      s1 += code(v & 0x00f0, high & (1u << (2 * i)) ? 8388608.0f : 8388864.0f) * x[2 * i + 16];
      s2 += code(v & 0x0f00, low & (2u << (2 * i)) ? 8388608.0f : 8392704.0f) * x[2 * i + 1];
      s3 += code(v & 0xf000, high & (2u << (2 * i)) ? 8388608.0f : 8454144.0f) * x[2 * i + 17];
    }
    return float(*(const device half*)block) * (s0 + 0.0625f * s1 + 0.00390625f * (s2 + 0.0625f * s3));
  }
};
