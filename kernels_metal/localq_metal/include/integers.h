// Integer codes of BITS (1 to 8) bits, a little-endian stream along each row; a scale and a zero point for every GROUP
// weights of a row: weight = (code - zero) * scale. Where all zero points are the same, ZERO is it, else 256. 16 codes
// are BITS times 2 bytes: loads of 2.
// constants: BITS, GROUP, ZERO, S, Z
struct Format {
  const device ushort* w;
  const device S* scales;
  const device Z* zeros;
  uint rows, columns;

  METAL_FUNC void decode16(size_t row, uint c, thread float* out) const {
    const size_t group = row * ((columns + GROUP - 1) / GROUP) + 16 * c / GROUP;
    const float scale = float(scales[group]), zero = ZERO < 256 ? float(ZERO) : float(zeros[group]);
    const device ushort* q = w + (row * (columns / 16) + c) * BITS;
    for (uint k = 0; k < 16; k++) {
      const uint at = k * BITS / 16, shift = k * BITS % 16;
      const uint next = shift + BITS > 16 ? uint(q[at + 1]) << 16 : 0;
      out[k] = (float(((uint(q[at]) | next) >> shift) & ((1 << BITS) - 1)) - zero) * scale;
    }
  }

  // Codes are not shifted down: one that lies at bit `shift` counts 2^shift times, until the sums are put together.
  enum { RUN = 16, SPAN = 1, STRIDE = 16 };
  METAL_FUNC float dot(size_t row, uint first, thread float* x, thread float* sums) const {
    const size_t group = row * ((columns + GROUP - 1) / GROUP) + first / GROUP;
    const float zero = ZERO < 256 ? 0.0f : float(zeros[group]);
    const device ushort* q = w + (row * (columns / 16) + first / 16) * BITS;
    float part[16];
    for (uint k = 0; k < 16; k++) part[k] = 0.0f;
    for (uint k = 0; k < 16; k++) {
      const uint at = k * BITS / 16, shift = k * BITS % 16;
      const uint next = shift + BITS > 16 ? uint(q[at + 1]) << 16 : 0;
      const uint code = (uint(q[at]) | next) & (((1u << BITS) - 1u) << shift);
      const float base = 8388608.0f + float(ZERO < 256 ? ZERO << shift : 0);
      part[shift] += (as_type<float>(code | 0x4b000000u) - base - zero * float(1 << shift)) * x[k];
    }
    float s = 0.0f;
    for (uint k = 0; k < 16; k++) s += part[k] * (1.0f / float(1 << k));
    return s * float(scales[group]);
  }
};
