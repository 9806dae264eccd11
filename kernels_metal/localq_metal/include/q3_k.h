// q3_k: hmask[32], qs[64], 12 bytes of 6-bit scales, fp16 d. Loads of 2 bytes: 110 is no multiple of 4.
struct Format {
  enum { WEIGHTS = 256, BYTES = 110, ALIGN = 2 };
  enum { RUN = 8, SPAN = 4, STRIDE = 32 };
  const device uint8_t* w;
  uint rows, columns;

  // 16 weights, number `chunk` of the block: one scale's worth.
  METAL_FUNC void decode16(size_t row, uint c, thread float* out) const {
    const device uint8_t* block = w + (row * (columns / WEIGHTS) + c / (WEIGHTS / 16)) * BYTES;
    const uint chunk = c % (WEIGHTS / 16);
    const device uint8_t* s = block + 96;
    const uint run = (chunk >> 1) & 3, at = 16 * (chunk & 1);
    const uint low4 = (uint(s[chunk & 7]) >> (4 * (chunk >> 3))) & 15;
    const uint high2 = (uint(s[8 + (chunk & 3)]) >> (2 * (chunk >> 2))) & 3;
    const float d = float(*(const device half*)(block + 108)) * float(int(low4 | (high2 << 4)) - 32);
    const device ushort* q = (const device ushort*)(block + 32 + 32 * (chunk >> 3) + at);
    const device ushort* mask = (const device ushort*)(block + at);
    for (uint i = 0; i < 8; i++) {
      const uint high = (uint(mask[i]) >> (4 * (chunk >> 3) + run)) & 0x0101;
      const uint codes = ((uint(q[i]) >> (2 * run)) & 0x0303) | (high << 2);
      out[2 * i] = d * float(int(codes & 7) - 4);
      out[2 * i + 1] = d * float(int(codes >> 8) - 4);
    }
  }

  // Bits below bit 23 as a whole float, less `zero`: no conversion, whose pipe on Apple GPUs is a quarter as wide.
  METAL_FUNC float code(uint bits, float zero) const { return as_type<float>(bits | 0x4b000000u) - zero; }

  METAL_FUNC float dot(size_t row, uint first, thread float* x, thread float* sums) const {
    const device uint8_t* block = w + (row * (columns / WEIGHTS) + first / WEIGHTS) * BYTES;
    const uint part = first % WEIGHTS / 128, at = first % 32;
    const device ushort* q = (const device ushort*)(block + 32 + 32 * part + at);
    const device ushort* mask = (const device ushort*)(block + at);
    const device uint8_t* s = block + 96 + (at >> 4);
    float scaled = 0.0f, unit = 1.0f;
    for (uint k = 0; k < 4; k++) {  // codes of 3 bits at bits 2k and 8 + 2k of two bytes
      float even = 0.0f, odd = 0.0f;
      for (uint i = 0; i < 4; i++) {
        const uint high = (uint(mask[i]) >> (4 * part)) << (2 + k);
        const uint codes = (q[i] & (0x0303u << (2 * k))) | (high & (0x0404u << (2 * k)));
        even += code(codes & (0x0007u << (2 * k)), 8388608.0f + float(4u << (2 * k))) * x[8 * k + 2 * i];
        odd += code(codes & (0x0700u << (2 * k)), 8388608.0f + float(1024u << (2 * k))) * x[8 * k + 2 * i + 1];
      }
      const uint low4 = (uint(s[2 * k]) >> (4 * part)) & 15;
      const uint high2 = (uint(s[8 + 2 * (k & 1)]) >> (4 * part + 2 * (k >> 1))) & 3;
      scaled += float(int(low4 | (high2 << 4)) - 32) * (unit * (even + 0.00390625f * odd));
      unit *= 0.25f;
    }
    return float(*(const device half*)(block + 108)) * scaled;
  }
};
