// tq2_0: qs[64] of 2-bit codes, fp16 d; weight = d * (code - 1). Loads of 2 bytes: 66 is no multiple of 4.
struct Format {
  enum { WEIGHTS = 256, BYTES = 66, ALIGN = 2 };
  enum { RUN = 8, SPAN = 4, STRIDE = 32 };
  const device uint8_t* w;
  uint rows, columns;

  // 16 weights, number `chunk` of the block: one pair of bits of 16 bytes.
  METAL_FUNC void decode16(size_t row, uint c, thread float* out) const {
    const device uint8_t* block = w + (row * (columns / WEIGHTS) + c / (WEIGHTS / 16)) * BYTES;
    const uint chunk = c % (WEIGHTS / 16);
    const float d = float(*(const device half*)(block + 64));
    const device ushort* q = (const device ushort*)(block + 32 * (chunk >> 3) + 16 * (chunk & 1));
    const uint shift = 2 * ((chunk >> 1) & 3);
    for (uint i = 0; i < 8; i++) {
      const uint codes = uint(q[i]) >> shift;
      out[2 * i] = d * float(int(codes & 3) - 1);
      out[2 * i + 1] = d * float(int((codes >> 8) & 3) - 1);
    }
  }

  // Bits below bit 23 as a whole float, less `zero`: no conversion, whose pipe on Apple GPUs is a quarter as wide.
  METAL_FUNC float code(uint bits, float zero) const { return as_type<float>(bits | 0x4b000000u) - zero; }

  METAL_FUNC float dot(size_t row, uint first, thread float* x, thread float* sums) const {
    const device uint8_t* block = w + (row * (columns / WEIGHTS) + first / WEIGHTS) * BYTES;
    const device ushort* q = (const device ushort*)(block + first % WEIGHTS / 128 * 32 + first % 32);
    float s = 0.0f, unit = 1.0f;
    for (uint k = 0; k < 4; k++) {  // bits 2k and 2k + 1 of two bytes: 2^23 and a code of one there are subtracted
      float even = 0.0f, odd = 0.0f;
      for (uint i = 0; i < 4; i++) {
        const uint v = q[i];
        even += code(v & (0x0003u << (2 * k)), 8388608.0f + float(1u << (2 * k))) * x[8 * k + 2 * i];
        odd += code(v & (0x0300u << (2 * k)), 8388608.0f + float(256u << (2 * k))) * x[8 * k + 2 * i + 1];
      }
      s += unit * (even + 0.00390625f * odd);
      unit *= 0.25f;
    }
    return float(*(const device half*)(block + 64)) * s;
  }
};
