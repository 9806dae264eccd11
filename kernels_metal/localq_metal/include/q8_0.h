// q8_0: fp16 d, 32 int8 codes. Loads of 2 bytes: 34 is no multiple of 4.
struct Format {
  enum { WEIGHTS = 32, BYTES = 34, ALIGN = 2 };
  enum { RUN = 16, SPAN = 1, STRIDE = 16 };
  const device uint8_t* w;
  uint rows, columns;

  // 16 weights, number `chunk` of the block.
  METAL_FUNC void decode16(size_t row, uint c, thread float* out) const {
    const device uint8_t* block = w + (row * (columns / WEIGHTS) + c / (WEIGHTS / 16)) * BYTES;
    const uint chunk = c % (WEIGHTS / 16);
    const float d = float(*(const device half*)block);
    const device ushort* q = (const device ushort*)(block + 2 + 16 * chunk);
    for (uint i = 0; i < 8; i++) {
      out[2 * i] = d * float(int(int8_t(q[i] & 255)));
      out[2 * i + 1] = d * float(int(int8_t(q[i] >> 8)));
    }
  }

  // Bits below bit 23 as a whole float, less `zero`: no conversion, whose pipe on Apple GPUs is a quarter as wide.
  METAL_FUNC float code(uint bits, float zero) const { return as_type<float>(bits | 0x4b000000u) - zero; }

  METAL_FUNC float dot(size_t row, uint first, thread float* x, thread float* sums) const {
    const device uint8_t* block = w + (row * (columns / WEIGHTS) + first / WEIGHTS) * BYTES;
    const device ushort* q = (const device ushort*)(block + 2 + first % WEIGHTS);
    float s0 = 0.0f, s1 = 0.0f;
    for (uint i = 0; i < 8; i++) {
      const uint v = uint(q[i]) ^ 0x8080;
      s0 += code(v & 0x00ff, 8388736.0f) * x[2 * i];
      s1 += code(v & 0xff00, 8421376.0f) * x[2 * i + 1];
    }
    return float(*(const device half*)block) * (s0 + 0.00390625f * s1);
  }
};
