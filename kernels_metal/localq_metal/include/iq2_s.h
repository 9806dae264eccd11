// iq2_s: fp16 d, low 8 bits of 32 grid numbers, 32 bytes of signs, high 2 bits of the numbers, 8 bytes of 4-bit scales.
// Loads of 2 bytes: 82 is no multiple of 4. `grid`: a word of 8 bytes a vector.
struct Format {
  enum { WEIGHTS = 256, BYTES = 82, ALIGN = 2 };
  enum { RUN = 16, SPAN = 1, STRIDE = 16 };
  const device uint8_t* w;
  const device uint64_t* grid;
  uint rows, columns;

  // 16 weights, number `chunk` of the block: one scale's worth, two vectors of 8.
  METAL_FUNC void decode16(size_t row, uint c, thread float* out) const {
    const device uint8_t* block = w + (row * (columns / WEIGHTS) + c / (WEIGHTS / 16)) * BYTES;
    const uint chunk = c % (WEIGHTS / 16);
    const uint low = ((const device ushort*)(block + 2))[chunk], signs = ((const device ushort*)(block + 34))[chunk];
    const uint high = uint(block[66 + (chunk >> 1)]) >> (4 * (chunk & 1));
    const uint scale = (uint(block[74 + (chunk >> 1)]) >> (4 * (chunk & 1))) & 15;
    const float d = float(*(const device half*)block) * (float(scale) + 0.5f) * 0.25f;
    for (uint v = 0; v < 2; v++) {
      const uint64_t word = grid[((low >> (8 * v)) & 255) | (((high >> (2 * v)) & 3) << 8)];
      const uint vector[2] = {uint(word), uint(word >> 32)};
      for (uint k = 0; k < 8; k++) {
        const float weight = d * float((vector[k >> 2] >> (8 * (k & 3))) & 255);
        out[8 * v + k] = signs & (1u << (8 * v + k)) ? -weight : weight;
      }
    }
  }

  // Bits below bit 23 as a whole float, less `zero`: no conversion, whose pipe on Apple GPUs is a quarter as wide.
  METAL_FUNC float code(uint bits, float zero) const { return as_type<float>(bits | 0x4b000000u) - zero; }

  METAL_FUNC float dot(size_t row, uint first, thread float* x, thread float* sums) const {
    const device uint8_t* block = w + (row * (columns / WEIGHTS) + first / WEIGHTS) * BYTES;
    const uint chunk = first % WEIGHTS / 16;
    const uint low = ((const device ushort*)(block + 2))[chunk], signs = ((const device ushort*)(block + 34))[chunk];
    const uint high = uint(block[66 + (chunk >> 1)]) >> (4 * (chunk & 1));
    const uint scale = (uint(block[74 + (chunk >> 1)]) >> (4 * (chunk & 1))) & 15;
    float even = 0.0f, odd = 0.0f;
    for (uint v = 0; v < 2; v++) {
      const uint64_t word = grid[((low >> (8 * v)) & 255) | (((high >> (2 * v)) & 3) << 8)];
      const uint vector[2] = {uint(word), uint(word >> 32)};
      for (uint k = 0; k < 4; k++) {  // two weights of a word, at its bits 0 and 8
        const uint g = k & 1 ? vector[k >> 1] >> 16 : vector[k >> 1];
        const float a = x[8 * v + 2 * k], b = x[8 * v + 2 * k + 1];
        even += code(g & 0x00ff, 8388608.0f) * (signs & (1u << (8 * v + 2 * k)) ? -a : a);
        odd += code(g & 0xff00, 8388608.0f) * (signs & (2u << (8 * v + 2 * k)) ? -b : b);
      }
    }
    return float(*(const device half*)block) * (float(scale) + 0.5f) * 0.25f * (even + 0.00390625f * odd);
  }
};
