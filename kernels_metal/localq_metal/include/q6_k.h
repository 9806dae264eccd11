// q6_k: ql[128], qh[64], int8 scales[16], fp16 d. Loads of 2 bytes: a block of 210 bytes is no multiple of 4.
struct Format {
  enum { WEIGHTS = 256, BYTES = 210, ALIGN = 2 };
  enum { RUN = 8, SPAN = 4, STRIDE = 32 };
  const device uint8_t* w;
  uint rows, columns;

  // 16 weights, number `chunk` of the block: one scale's worth.
  METAL_FUNC void decode16(size_t row, uint c, thread float* out) const {
    const device uint8_t* block = w + (row * (columns / WEIGHTS) + c / (WEIGHTS / 16)) * BYTES;
    const uint chunk = c % (WEIGHTS / 16);
    const uint part = chunk >> 3, run = (chunk >> 1) & 3, at = 16 * (chunk & 1);
    const float d = float(*(const device half*)(block + 208)) * float(((const device int8_t*)(block + 192))[chunk]);
    const device ushort* low = (const device ushort*)(block + 64 * part + 32 * (run & 1) + at);
    const device ushort* high = (const device ushort*)(block + 128 + 32 * part + at);
    for (uint i = 0; i < 8; i++) {
      const uint codes = ((uint(low[i]) >> (4 * (run >> 1))) & 0x0f0f) | (((uint(high[i]) >> (2 * run)) & 0x0303) << 4);
      out[2 * i] = d * float(int(codes & 255) - 32);
      out[2 * i + 1] = d * float(int(codes >> 8) - 32);
    }
  }

  // Bits below bit 23 as a whole float, less `zero`: no conversion, whose pipe on Apple GPUs is a quarter as wide.
  METAL_FUNC float code(uint bits, float zero) const { return as_type<float>(bits | 0x4b000000u) - zero; }

  METAL_FUNC float dot(size_t row, uint first, thread float* x, thread float* sums) const {
    const device uint8_t* block = w + (row * (columns / WEIGHTS) + first / WEIGHTS) * BYTES;
    const uint part = first % WEIGHTS / 128, at = first % 32;
    const device ushort* low = (const device ushort*)(block + 64 * part + at);
    const device ushort* high = (const device ushort*)(block + 128 + 32 * part + at);
    const device int8_t* s = (const device int8_t*)(block + 192 + 8 * part + (at >> 4));
    float scaled = 0.0f;
    for (uint k = 0; k < 2; k++) {  // runs k, in low nibbles, and k + 2, in high ones
      float a = 0.0f, b = 0.0f, c = 0.0f, d = 0.0f;
      for (uint i = 0; i < 4; i++) {
        const uint v = low[i + 16 * k], h = uint(high[i]) << (k ? 2 : 4);
        const uint first6 = (v & 0x0f0f) | (h & 0x3030), second6 = (v & 0xf0f0) | (h & 0x30300);
        a += code(first6 & 0x003f, 8388640.0f) * x[8 * k + 2 * i];
        b += code(first6 & 0x3f00, 8396800.0f) * x[8 * k + 2 * i + 1];
        c += code(second6 & 0x03f0, 8389120.0f) * x[8 * k + 2 * i + 16];
        d += code(second6 & 0x3f000, 8519680.0f) * x[8 * k + 2 * i + 17];
      }
      scaled += float(s[2 * k]) * (a + 0.00390625f * b) + float(s[2 * k + 4]) * (0.0625f * (c + 0.00390625f * d));
    }
    return float(*(const device half*)(block + 208)) * scaled;
  }
};
