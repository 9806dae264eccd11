// mxfp4_ggml: an exponent e, 16 bytes of E2M1 nibbles (weight j low, weight j + 16 high). 17 bytes: loads of one.
// E2M1 values are kept doubled, the digits of a hexadecimal number, and the scale is halved: 2^(e - 128).
struct Format {
  enum { WEIGHTS = 32, BYTES = 17, ALIGN = 1 };
  const device uint8_t* w;
  uint rows, columns;

  // 16 weights, number `chunk` of the block: the low or the high nibbles.
  METAL_FUNC void decode16(size_t row, uint c, thread float* out) const {
    const device uint8_t* block = w + (row * (columns / WEIGHTS) + c / (WEIGHTS / 16)) * BYTES;
    const uint chunk = c % (WEIGHTS / 16);
    const uint e = block[0];
    const float d = as_type<float>(e < 2 ? 0x00200000u << e : (e - 1) << 23);
    for (uint i = 0; i < 16; i++) {
      const uint code = uint(block[1 + i]) >> (4 * chunk);
      const int size = int((0xC8643210u >> (4 * (code & 7))) & 15);
      out[i] = d * float(code & 8 ? -size : size);
    }
  }
};
