// iq1_m: low 8 bits of 32 grid numbers, nibbles of 3 high bits and the sign of a shift, 4 words of four 3-bit scales
// and, on top, four bits of an fp16 d. Loads of 2 bytes; a block is 8 * 7. `grid`: 8 codes of 2 bits a vector, 0, 1 or
// 2 for -1, 0 or 1.
struct Format {
  enum { WEIGHTS = 256, BYTES = 56, ALIGN = 2 };
  enum { RUN = 8, SPAN = 4, STRIDE = 8 };
  const device uint8_t* w;
  const device ushort* grid;
  uint rows, columns;

  // 16 weights, number `chunk` of the block: one scale's worth, two vectors of 8.
  METAL_FUNC void decode16(size_t row, uint c, thread float* out) const {
    const device uint8_t* block = w + (row * (columns / WEIGHTS) + c / (WEIGHTS / 16)) * BYTES;
    const uint chunk = c % (WEIGHTS / 16);
    const device ushort* s = (const device ushort*)(block + 48);
    const uint d16 = (uint(s[0]) >> 12) | ((uint(s[1]) >> 8) & 0x00f0) | ((uint(s[2]) >> 4) & 0x0f00) | (s[3] & 0xf000);
    const float d = float(as_type<half>(ushort(d16))) * float(2 * ((uint(s[chunk >> 2]) >> (3 * (chunk & 3))) & 7) + 1);
    const uint low = ((const device ushort*)block)[chunk], high = block[32 + chunk];
    for (uint v = 0; v < 2; v++) {
      const uint top = high >> (4 * v);
      const uint codes = grid[((low >> (8 * v)) & 255) | ((top & 7) << 8)];
      const float shift = top & 8 ? -1.125f : -0.875f;
      for (uint k = 0; k < 8; k++) out[8 * v + k] = d * (float((codes >> (2 * k)) & 3) + shift);
    }
  }

  // Bits below bit 23 as a whole float, less `zero`: no conversion, whose pipe on Apple GPUs is a quarter as wide.
  METAL_FUNC float code(uint bits, float zero) const { return as_type<float>(bits | 0x4b000000u) - zero; }

  METAL_FUNC float dot(size_t row, uint first, thread float* x, thread float* sums) const {
    const device uint8_t* block = w + (row * (columns / WEIGHTS) + first / WEIGHTS) * BYTES;
    const uint chunk = first % WEIGHTS / 16;
    const device ushort* s = (const device ushort*)(block + 48);
    const uint d16 = (uint(s[0]) >> 12) | ((uint(s[1]) >> 8) & 0x00f0) | ((uint(s[2]) >> 4) & 0x0f00) | (s[3] & 0xf000);
    const uint scales = uint(s[chunk >> 2]) >> (3 * (chunk & 3));
    const device ushort* low = (const device ushort*)block + chunk;
    const device uint8_t* high = block + 32 + chunk;
    float scaled = 0.0f;
    for (uint c = 0; c < 2; c++) {
      float s0 = 0.0f, s1 = 0.0f, s2 = 0.0f, s3 = 0.0f, shifted = 0.0f;
      for (uint v = 0; v < 2; v++) {
        const uint top = uint(high[c]) >> (4 * v);
        const uint codes = grid[((uint(low[c]) >> (8 * v)) & 255) | ((top & 7) << 8)];
        for (uint k = 0; k < 2; k++) {  // four codes of two bits at bits 0 to 7
          const uint g = codes >> (8 * k), at = 16 * c + 8 * v + 4 * k;
          s0 += code(g & 0x03, 8388609.0f) * x[at];
          s1 += code(g & 0x0c, 8388612.0f) * x[at + 1];
          s2 += code(g & 0x30, 8388624.0f) * x[at + 2];
          s3 += code(g & 0xc0, 8388672.0f) * x[at + 3];
        }
        shifted += top & 8 ? -sums[2 * c + v] : sums[2 * c + v];
      }
      const float sum = s0 + 0.25f * s1 + 0.0625f * (s2 + 0.25f * s3) + 0.125f * shifted;
      scaled += float(2 * ((scales >> (3 * c)) & 7) + 1) * sum;
    }
    return float(as_type<half>(ushort(d16))) * scaled;
  }
};
