// iq4_xs: fp16 d, high scale bits (2 bytes), low scale bits (4 bytes), 128 bytes of table codes. 136 = 4 * 34.
constant float lq_iq4_values[16] = {-127.0f, -104.0f, -83.0f, -65.0f, -49.0f, -35.0f, -22.0f, -10.0f,
                                    1.0f,    13.0f,   25.0f,  38.0f,  53.0f,  69.0f,  89.0f,  113.0f};

struct Format {
  enum { WEIGHTS = 256, BYTES = 136, ALIGN = 4 };
  enum { RUN = 16, SPAN = 2, STRIDE = 16 };
  const device uint8_t* w;
  uint rows, columns;

  // 16 weights, number `chunk` of the block: the low or the high nibbles of a group of 32.
  METAL_FUNC void decode16(size_t row, uint c, thread float* out) const {
    const device uint8_t* block = w + (row * (columns / WEIGHTS) + c / (WEIGHTS / 16)) * BYTES;
    const uint chunk = c % (WEIGHTS / 16);
    const uint group = chunk >> 1;
    const uint high = *(const device ushort*)(block + 2), low = block[4 + (group >> 1)];
    const int scale = int(((low >> (4 * (group & 1))) & 15) | (((high >> (2 * group)) & 3) << 4)) - 32;
    const float d = float(*(const device half*)block) * float(scale);
    const device uint* q = (const device uint*)(block + 8 + 16 * group);
    for (uint i = 0; i < 4; i++) {
      const uint codes = q[i] >> (4 * (chunk & 1));
      for (uint k = 0; k < 4; k++) out[4 * i + k] = d * lq_iq4_values[(codes >> (8 * k)) & 15];
    }
  }

  METAL_FUNC float dot(size_t row, uint first, thread float* x, thread float* sums) const {
    const device uint8_t* block = w + (row * (columns / WEIGHTS) + first / WEIGHTS) * BYTES;
    const uint group = first % WEIGHTS / 32;
    const uint high = *(const device ushort*)(block + 2), low = block[4 + (group >> 1)];
    const int scale = int(((low >> (4 * (group & 1))) & 15) | (((high >> (2 * group)) & 3) << 4)) - 32;
    const device uint* q = (const device uint*)(block + 8 + 16 * group);
    float s0 = 0.0f, s1 = 0.0f;
    for (uint i = 0; i < 4; i++) {
      const uint v = q[i];
      for (uint k = 0; k < 4; k++) {
        s0 += lq_iq4_values[(v >> (8 * k)) & 15] * x[4 * i + k];
        s1 += lq_iq4_values[(v >> (8 * k + 4)) & 15] * x[4 * i + k + 16];
      }
    }
    return float(*(const device half*)block) * float(scale) * (s0 + s1);
  }
};
