// iq4_nl: fp16 d, 16 bytes of table codes (weight j low, weight j + 16 high). Loads of 2 bytes: 18 is no multiple of 4.
constant float lq_iq4_values[16] = {-127.0f, -104.0f, -83.0f, -65.0f, -49.0f, -35.0f, -22.0f, -10.0f,
                                    1.0f,    13.0f,   25.0f,  38.0f,  53.0f,  69.0f,  89.0f,  113.0f};

struct Format {
  enum { WEIGHTS = 32, BYTES = 18, ALIGN = 2 };
  enum { RUN = 16, SPAN = 2, STRIDE = 16 };
  const device uint8_t* w;
  uint rows, columns;

  // 16 weights, number `chunk` of the block: the low or the high nibbles.
  METAL_FUNC void decode16(size_t row, uint c, thread float* out) const {
    const device uint8_t* block = w + (row * (columns / WEIGHTS) + c / (WEIGHTS / 16)) * BYTES;
    const uint chunk = c % (WEIGHTS / 16);
    const float d = float(*(const device half*)block);
    const device ushort* q = (const device ushort*)(block + 2);
    for (uint i = 0; i < 8; i++) {
      const uint codes = uint(q[i]) >> (4 * chunk);
      out[2 * i] = d * lq_iq4_values[codes & 15];
      out[2 * i + 1] = d * lq_iq4_values[(codes >> 8) & 15];
    }
  }

  METAL_FUNC float dot(size_t row, uint first, thread float* x, thread float* sums) const {
    const device uint8_t* block = w + (row * (columns / WEIGHTS) + first / WEIGHTS) * BYTES;
    const device ushort* q = (const device ushort*)(block + 2);
    float low = 0.0f, high = 0.0f;
    for (uint i = 0; i < 8; i++) {
      const uint v = q[i];
      low += lq_iq4_values[v & 15] * x[2 * i] + lq_iq4_values[(v >> 8) & 15] * x[2 * i + 1];
      high += lq_iq4_values[(v >> 4) & 15] * x[2 * i + 16] + lq_iq4_values[v >> 12] * x[2 * i + 17];
    }
    return float(*(const device half*)block) * (low + high);
  }
};
