// q2_k: 16 bytes of 4-bit scales and minima, qs[64], fp16 d, fp16 dmin. Loads of 4 bytes: 84 = 4 * 21.
struct Format {
  enum { WEIGHTS = 256, BYTES = 84, ALIGN = 4 };
  enum { RUN = 8, SPAN = 4, STRIDE = 32 };
  const device uint8_t* w;
  uint rows, columns;

  // 16 weights, number `chunk` of the block: one scale's worth.
  METAL_FUNC void decode16(size_t row, uint c, thread float* out) const {
    const device uint8_t* block = w + (row * (columns / WEIGHTS) + c / (WEIGHTS / 16)) * BYTES;
    const uint chunk = c % (WEIGHTS / 16);
    const uint packed = block[chunk], shift = 2 * ((chunk >> 1) & 3);
    const float d = float(*(const device half*)(block + 80)) * float(packed & 15);
    const float m = float(*(const device half*)(block + 82)) * float(packed >> 4);
    const device uint* q = (const device uint*)(block + 16 + 32 * (chunk >> 3) + 16 * (chunk & 1));
    for (uint i = 0; i < 4; i++) {
      const uint codes = q[i] >> shift;
      for (uint k = 0; k < 4; k++) out[4 * i + k] = d * float((codes >> (8 * k)) & 3) - m;
    }
  }

  // Bits below bit 23 as a whole float, less `zero`: no conversion, whose pipe on Apple GPUs is a quarter as wide.
  METAL_FUNC float code(uint bits, float zero) const { return as_type<float>(bits | 0x4b000000u) - zero; }

  METAL_FUNC float dot(size_t row, uint first, thread float* x, thread float* sums) const {
    const device uint8_t* block = w + (row * (columns / WEIGHTS) + first / WEIGHTS) * BYTES;
    const uint part = first % WEIGHTS / 128, at = first % 32;
    const device uint* q = (const device uint*)(block + 16 + 32 * part + at);
    const uint v[4] = {q[0], q[0] >> 16, q[1], q[1] >> 16};
    float scaled = 0.0f, least = 0.0f, unit = 1.0f;
    for (uint k = 0; k < 4; k++) {  // bits 2k and 2k + 1 of two bytes
      const uint packed = block[8 * part + 2 * k + (at >> 4)];
      float even = 0.0f, odd = 0.0f;
      for (uint i = 0; i < 4; i++) {
        even += code(v[i] & (0x0003u << (2 * k)), 8388608.0f) * x[8 * k + 2 * i];
        odd += code(v[i] & (0x0300u << (2 * k)), 8388608.0f) * x[8 * k + 2 * i + 1];
      }
      scaled += float(packed & 15) * (unit * (even + 0.00390625f * odd));
      least += float(packed >> 4) * sums[k];
      unit *= 0.25f;
    }
    return float(*(const device half*)(block + 80)) * scaled - float(*(const device half*)(block + 82)) * least;
  }
};
