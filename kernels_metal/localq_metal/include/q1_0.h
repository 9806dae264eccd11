// q1_0: fp16 d, 16 bytes of signs, a set bit for d and the others for -d. Loads of 2 bytes: 18 is no multiple of 4.
struct Format {
  enum { WEIGHTS = 128, BYTES = 18, ALIGN = 2 };
  enum { RUN = 32, SPAN = 1, STRIDE = 32 };
  const device uint8_t* w;
  uint rows, columns;

  // 16 weights, number `chunk` of the block.
  METAL_FUNC void decode16(size_t row, uint c, thread float* out) const {
    const device uint8_t* block = w + (row * (columns / WEIGHTS) + c / (WEIGHTS / 16)) * BYTES;
    const uint chunk = c % (WEIGHTS / 16);
    const float d = float(*(const device half*)block);
    const uint bits = ((const device ushort*)(block + 2))[chunk];
    for (uint k = 0; k < 16; k++) out[k] = (bits >> k) & 1 ? d : -d;
  }

  METAL_FUNC float dot(size_t row, uint first, thread float* x, thread float* sums) const {
    const device uint8_t* block = w + (row * (columns / WEIGHTS) + first / WEIGHTS) * BYTES;
    const device ushort* q = (const device ushort*)(block + 2 + first % WEIGHTS / 8);
    float s = 0.0f;
    for (uint k = 0; k < 32; k++) s += q[k >> 4] & (1u << (k & 15)) ? x[k] : -x[k];
    return float(*(const device half*)block) * s;
  }
};
