// iq1_s: fp16 d, low 8 bits of 32 grid numbers, 8 words of 4 * 3 high bits, a 3-bit scale and the sign of the shift.
// Loads of 2 bytes: 50 is no multiple of 4. `grid`: 8 codes of 2 bits a vector, 0, 1 or 2 for -1, 0 or 1.
struct Format {
  enum { WEIGHTS = 256, BYTES = 50, ALIGN = 2 };
  enum { RUN = 32, SPAN = 1, STRIDE = 32 };
  const device uint8_t* w;
  const device ushort* grid;
  uint rows, columns;

  // 16 weights, number `chunk` of the block: two vectors of 8.
  METAL_FUNC void decode16(size_t row, uint c, thread float* out) const {
    const device uint8_t* block = w + (row * (columns / WEIGHTS) + c / (WEIGHTS / 16)) * BYTES;
    const uint chunk = c % (WEIGHTS / 16);
    const uint low = ((const device ushort*)(block + 2))[chunk];
    const uint high = ((const device ushort*)(block + 34))[chunk >> 1];
    const float d = float(*(const device half*)block) * float(2 * ((high >> 12) & 7) + 1);
    const float shift = high & 0x8000 ? -1.125f : -0.875f;
    for (uint v = 0; v < 2; v++) {
      const uint top = (high >> (6 * (chunk & 1) + 3 * v)) & 7;
      const uint codes = grid[((low >> (8 * v)) & 255) | (top << 8)];
      for (uint k = 0; k < 8; k++) out[8 * v + k] = d * (float((codes >> (2 * k)) & 3) + shift);
    }
  }

  // Bits below bit 23 as a whole float, less `zero`: no conversion, whose pipe on Apple GPUs is a quarter as wide.
  METAL_FUNC float code(uint bits, float zero) const { return as_type<float>(bits | 0x4b000000u) - zero; }

  METAL_FUNC float dot(size_t row, uint first, thread float* x, thread float* sums) const {
    const device uint8_t* block = w + (row * (columns / WEIGHTS) + first / WEIGHTS) * BYTES;
    const device ushort* low = (const device ushort*)(block + 2 + first % WEIGHTS / 8);
    const uint high = ((const device ushort*)(block + 34))[first % WEIGHTS / 32];
    float s0 = 0.0f, s1 = 0.0f, s2 = 0.0f, s3 = 0.0f;
    for (uint v = 0; v < 4; v++) {
      const uint codes = grid[((uint(low[v >> 1]) >> (8 * (v & 1))) & 255) | (((high >> (3 * v)) & 7) << 8)];
      for (uint k = 0; k < 2; k++) {  // four codes of two bits at bits 0 to 7
        const uint g = codes >> (8 * k);
        s0 += code(g & 0x03, 8388609.0f) * x[8 * v + 4 * k];
        s1 += code(g & 0x0c, 8388612.0f) * x[8 * v + 4 * k + 1];
        s2 += code(g & 0x30, 8388624.0f) * x[8 * v + 4 * k + 2];
        s3 += code(g & 0xc0, 8388672.0f) * x[8 * v + 4 * k + 3];
      }
    }
    const float shift = high & 0x8000 ? -0.125f : 0.125f;
    const float d = float(*(const device half*)block) * float(2 * ((high >> 12) & 7) + 1);
    return d * (s0 + 0.25f * s1 + 0.0625f * (s2 + 0.25f * s3) + shift * sums[0]);
  }
};
