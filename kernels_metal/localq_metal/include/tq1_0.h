// tq1_0: qs[48], qh[4], fp16 d. A byte is a fraction of 256 in base three: digit n is 3 * (byte * 3^n mod 256) / 256.
// Loads of 2 bytes: 54 is no multiple of 4.
constant uint8_t lq_powers[16] = {1, 1, 3, 3, 9, 9, 27, 27, 81, 81, 1, 3, 9, 27, 81, 1};

struct Format {
  enum { WEIGHTS = 256, BYTES = 54, ALIGN = 2 };
  enum { RUN = 16, SPAN = 1, STRIDE = 16 };
  const device uint8_t* w;
  uint rows, columns;

  // 16 weights, number `chunk` of the block: one digit of bytes 0 to 15 or 16 to 31 (chunks 0 to 9), of bytes 32 to 47
  // (10 to 14), or the first four digits of bytes 48 to 51. Two bytes are multiplied at a time.
  METAL_FUNC void decode16(size_t row, uint c, thread float* out) const {
    const device uint8_t* block = w + (row * (columns / WEIGHTS) + c / (WEIGHTS / 16)) * BYTES;
    const uint chunk = c % (WEIGHTS / 16);
    const float d = float(*(const device half*)(block + 52));
    const bool last = chunk == 15;
    const device ushort* q = (const device ushort*)(block + (last ? 48 : chunk < 10 ? 16 * (chunk & 1) : 32));
    uint power = lq_powers[chunk];
    for (uint i = 0; i < 8; i++) {
      const uint pair = q[last ? i & 1 : i];
      const uint digits = ((((pair | (pair << 8)) & 0x00ff00ff) * power) & 0x00ff00ff) * 3;
      out[2 * i] = d * float(int((digits >> 8) & 3) - 1);
      out[2 * i + 1] = d * float(int(digits >> 24) - 1);
      if (last && (i & 1)) power *= 3;
    }
  }
  // Bits below bit 23 as a whole float, less `zero`: no conversion, whose pipe on Apple GPUs is a quarter as wide.
  METAL_FUNC float code(uint bits, float zero) const { return as_type<float>(bits | 0x4b000000u) - zero; }

  METAL_FUNC float dot(size_t row, uint first, thread float* x, thread float* sums) const {
    const device uint8_t* block = w + (row * (columns / WEIGHTS) + first / WEIGHTS) * BYTES;
    const uint chunk = first % WEIGHTS / 16;
    const bool last = chunk == 15;
    const device ushort* q = (const device ushort*)(block + (last ? 48 : chunk < 10 ? 16 * (chunk & 1) : 32));
    uint power = lq_powers[chunk];
    float even = 0.0f, odd = 0.0f;
    for (uint i = 0; i < 8; i++) {
      const uint pair = q[last ? i & 1 : i];
      const uint digits = ((((pair | (pair << 8)) & 0x00ff00ff) * power) & 0x00ff00ff) * 3;
      even += code(digits & 0x0300, 8388864.0f) * x[2 * i];
      odd += code(digits >> 24, 8388609.0f) * x[2 * i + 1];
      if (last && (i & 1)) power *= 3;
    }
    return float(*(const device half*)(block + 52)) * (0.00390625f * even + odd);
  }
};
