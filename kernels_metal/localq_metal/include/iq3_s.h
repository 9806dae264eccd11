// iq3_s: fp16 d, low 8 bits of 64 grid numbers, their ninth bits, 32 bytes of signs, 4 bytes of 4-bit scales. Loads of
// 2 bytes: 110 is no multiple of 4. `grid`: a word of 4 bytes a vector.
struct Format {
  enum { WEIGHTS = 256, BYTES = 110, ALIGN = 2 };
  enum { RUN = 16, SPAN = 1, STRIDE = 16 };
  const device uint8_t* w;
  const device uint* grid;
  uint rows, columns;

  // 16 weights, number `chunk` of the block: four vectors of 4.
  METAL_FUNC void decode16(size_t row, uint c, thread float* out) const {
    const device uint8_t* block = w + (row * (columns / WEIGHTS) + c / (WEIGHTS / 16)) * BYTES;
    const uint chunk = c % (WEIGHTS / 16);
    const device ushort* low = (const device ushort*)(block + 2 + 4 * chunk);
    const uint ninth = uint(block[66 + (chunk >> 1)]) >> (4 * (chunk & 1));
    const uint signs = ((const device ushort*)(block + 74))[chunk];
    const uint scale = (uint(block[106 + (chunk >> 2)]) >> (2 * (chunk & 2))) & 15;
    const float d = float(*(const device half*)block) * float(1 + 2 * scale);
    for (uint v = 0; v < 4; v++) {
      const uint vector = grid[((uint(low[v >> 1]) >> (8 * (v & 1))) & 255) | (((ninth >> v) & 1) << 8)];
      for (uint k = 0; k < 4; k++) {
        const float weight = d * float((vector >> (8 * k)) & 255);
        out[4 * v + k] = signs & (1u << (4 * v + k)) ? -weight : weight;
      }
    }
  }

  // Bits below bit 23 as a whole float, less `zero`: no conversion, whose pipe on Apple GPUs is a quarter as wide.
  METAL_FUNC float code(uint bits, float zero) const { return as_type<float>(bits | 0x4b000000u) - zero; }

  METAL_FUNC float dot(size_t row, uint first, thread float* x, thread float* sums) const {
    const device uint8_t* block = w + (row * (columns / WEIGHTS) + first / WEIGHTS) * BYTES;
    const uint chunk = first % WEIGHTS / 16;
    const device ushort* low = (const device ushort*)(block + 2 + 4 * chunk);
    const uint ninth = uint(block[66 + (chunk >> 1)]) << (8 - 4 * (chunk & 1));
    const uint signs = ((const device ushort*)(block + 74))[chunk];
    const uint scale = (uint(block[106 + (chunk >> 2)]) >> (2 * (chunk & 2))) & 15;
    float even = 0.0f, odd = 0.0f;
    for (uint v = 0; v < 2; v++) {
      const uint n = ninth >> (2 * v);
      const uint vector[2] = {grid[(low[v] & 255) | (n & 256)], grid[(low[v] >> 8) | ((n >> 1) & 256)]};
      for (uint k = 0; k < 4; k++) {  // two weights of a word, at its bits 0 and 8
        const uint g = k & 1 ? vector[k >> 1] >> 16 : vector[k >> 1];
        const float a = x[8 * v + 2 * k], b = x[8 * v + 2 * k + 1];
        even += code(g & 0x00ff, 8388608.0f) * (signs & (1u << (8 * v + 2 * k)) ? -a : a);
        odd += code(g & 0xff00, 8388608.0f) * (signs & (2u << (8 * v + 2 * k)) ? -b : b);
      }
    }
    return float(*(const device half*)block) * float(1 + 2 * scale) * (even + 0.00390625f * odd);
  }
};
