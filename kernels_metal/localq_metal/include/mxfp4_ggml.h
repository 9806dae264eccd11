// mxfp4_ggml: an exponent e, 16 bytes of E2M1 nibbles (weight j low, weight j + 16 high). 17 bytes: loads of one.
// E2M1 values are kept doubled, the digits of a hexadecimal number, and the scale is halved: 2^(e - 128).
struct Format {
  enum { WEIGHTS = 32, BYTES = 17, ALIGN = 1 };
  enum { RUN = 16, SPAN = 2, STRIDE = 16 };
  const device uint8_t* w;
  uint rows, columns;

  METAL_FUNC float half_of_scale(uint e) const { return as_type<float>(e < 2 ? 0x00200000u << e : (e - 1) << 23); }

  // 16 weights, number `chunk` of the block: the low or the high nibbles.
  METAL_FUNC void decode16(size_t row, uint c, thread float* out) const {
    const device uint8_t* block = w + (row * (columns / WEIGHTS) + c / (WEIGHTS / 16)) * BYTES;
    const uint chunk = c % (WEIGHTS / 16);
    const float d = half_of_scale(block[0]);
    for (uint i = 0; i < 16; i++) {
      const uint code = uint(block[1 + i]) >> (4 * chunk);
      const int size = int((0xC8643210u >> (4 * (code & 7))) & 15);
      out[i] = d * float(code & 8 ? -size : size);
    }
  }

  // A half of E2M1's bits, its sign moved, is the value divided by 2^14: the exponents' biases are 1 and 15.
  METAL_FUNC float small(uint bits) const { return float(as_type<half>(ushort(bits))); }

  METAL_FUNC float dot(size_t row, uint first, thread float* x, thread float* sums) const {
    const device uint8_t* block = w + (row * (columns / WEIGHTS) + first / WEIGHTS) * BYTES;
    float s = 0.0f;
    for (uint i = 0; i < 8; i++) {
      const uint pair = uint(block[2 * i + 1]) | (uint(block[2 * i + 2]) << 16);
      const uint low = ((pair & 0x00070007) << 9) | ((pair & 0x00080008) << 12);
      const uint high = ((pair & 0x00700070) << 5) | ((pair & 0x00800080) << 8);
      s += small(low & 0xffff) * x[2 * i] + small(low >> 16) * x[2 * i + 1];
      s += small(high & 0xffff) * x[2 * i + 16] + small(high >> 16) * x[2 * i + 17];
    }
    return s * 32768.0f * half_of_scale(block[0]);
  }
};
