// OCP's MXFP6: codes of 6 bits, a little-endian stream along each row, under a power of two for 32 weights (its E8M0
// byte, 255 infinite). A code is a sign, EXPONENT bits of exponent and the rest of mantissa; a half of its bits, the sign
// moved, is the value times a power of two, for the biases differ. 16 codes are three words: loads of 4 bytes.
// constants: EXPONENT
struct Format {
  const device uint* w;
  const device uint8_t* scales;
  uint rows, columns;

  METAL_FUNC float power(size_t row, uint c) const {
    const uint e = scales[row * (columns / 32) + c / 2];
    return as_type<float>(e == 0 ? 0x00400000u : e << 23);
  }

  METAL_FUNC float small(const device uint* q, uint k) const {
    const uint at = 6 * k / 32, shift = 6 * k % 32;
    const uint code = (q[at] >> shift) | (shift > 26 ? q[at + 1] << (32 - shift) : 0);
    return float(as_type<half>(ushort(((code & 31) << (5 + EXPONENT)) | ((code & 32) << 10))));
  }

  METAL_FUNC void decode16(size_t row, uint c, thread float* out) const {
    const float unit = EXPONENT == 3 ? 4096.0f : 16384.0f, by = power(row, c);
    const device uint* q = w + (row * (columns / 16) + c) * 3;
    for (uint k = 0; k < 16; k++) out[k] = small(q, k) * unit * by;
  }

  enum { RUN = 16, SPAN = 1, STRIDE = 16 };
  METAL_FUNC float dot(size_t row, uint first, thread float* x, thread float* sums) const {
    const device uint* q = w + (row * (columns / 16) + first / 16) * 3;
    float s = 0.0f;
    for (uint k = 0; k < 16; k++) s += small(q, k) * x[k];
    return s * (EXPONENT == 3 ? 4096.0f : 16384.0f) * power(row, first / 16);
  }
};
