// iq2_xs: fp16 d, 32 words of a 9-bit grid number and 7 sign bits, the eighth making their number even, 8 bytes of
// 4-bit scales. Loads of 2 bytes: 74 is no multiple of 4. `grid`: a word of 8 bytes a vector.
struct Format {
  enum { WEIGHTS = 256, BYTES = 74, ALIGN = 2 };
  enum { RUN = 16, SPAN = 1, STRIDE = 16 };
  const device uint8_t* w;
  const device uint64_t* grid;
  uint rows, columns;

  // 16 weights, number `chunk` of the block: one scale's worth, two vectors of 8.
  METAL_FUNC void decode16(size_t row, uint c, thread float* out) const {
    const device uint8_t* block = w + (row * (columns / WEIGHTS) + c / (WEIGHTS / 16)) * BYTES;
    const uint chunk = c % (WEIGHTS / 16);
    const device ushort* q = (const device ushort*)(block + 2 + 4 * chunk);
    const uint scale = (uint(block[66 + (chunk >> 1)]) >> (4 * (chunk & 1))) & 15;
    const float d = float(*(const device half*)block) * (float(scale) + 0.5f) * 0.25f;
    for (uint v = 0; v < 2; v++) {
      const uint code = q[v];
      uint signs = code >> 9;
      signs |= ((0x6996u >> ((signs ^ (signs >> 4)) & 15)) & 1) << 7;
      const uint64_t word = grid[code & 511];
      const uint vector[2] = {uint(word), uint(word >> 32)};
      for (uint k = 0; k < 8; k++) {
        const float weight = d * float((vector[k >> 2] >> (8 * (k & 3))) & 255);
        out[8 * v + k] = signs & (1u << k) ? -weight : weight;
      }
    }
  }

  // Bits below bit 23 as a whole float, less `zero`: no conversion, whose pipe on Apple GPUs is a quarter as wide.
  METAL_FUNC float code(uint bits, float zero) const { return as_type<float>(bits | 0x4b000000u) - zero; }

  METAL_FUNC float dot(size_t row, uint first, thread float* x, thread float* sums) const {
    const device uint8_t* block = w + (row * (columns / WEIGHTS) + first / WEIGHTS) * BYTES;
    const uint chunk = first % WEIGHTS / 16;
    const device ushort* q = (const device ushort*)(block + 2 + 4 * chunk);
    const uint scale = (uint(block[66 + (chunk >> 1)]) >> (4 * (chunk & 1))) & 15;
    float even = 0.0f, odd = 0.0f;
    for (uint v = 0; v < 2; v++) {
      uint signs = uint(q[v]) >> 9;
      signs |= ((0x6996u >> ((signs ^ (signs >> 4)) & 15)) & 1) << 7;
      const uint64_t word = grid[q[v] & 511];
      const uint vector[2] = {uint(word), uint(word >> 32)};
      for (uint k = 0; k < 4; k++) {  // two weights of a word, at its bits 0 and 8
        const uint g = k & 1 ? vector[k >> 1] >> 16 : vector[k >> 1];
        const float a = x[8 * v + 2 * k], b = x[8 * v + 2 * k + 1];
        even += code(g & 0x00ff, 8388608.0f) * (signs & (1u << (2 * k)) ? -a : a);
        odd += code(g & 0xff00, 8388608.0f) * (signs & (2u << (2 * k)) ? -b : b);
      }
    }
    return float(*(const device half*)block) * (float(scale) + 0.5f) * 0.25f * (even + 0.00390625f * odd);
  }
};
