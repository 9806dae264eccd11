// HQQ's axis 0: codes as in integers.h, but weights that lie STEP apart, row after row, share a scale and a zero point.
// constants: BITS, STEP, S
struct Format {
  const device ushort* w;
  const device S* scales;
  const device S* zeros;
  uint rows, columns;

  METAL_FUNC void decode16(size_t row, uint c, thread float* out) const {
    const size_t first = (row / rows) * STEP + ((row % rows) * columns + 16 * c) % STEP;
    const device ushort* q = w + (row * (columns / 16) + c) * BITS;
    for (uint k = 0; k < 16; k++) {
      const uint at = k * BITS / 16, shift = k * BITS % 16;
      const uint next = shift + BITS > 16 ? uint(q[at + 1]) << 16 : 0;
      const uint code = ((uint(q[at]) | next) >> shift) & ((1 << BITS) - 1);
      out[k] = (float(code) - float(zeros[first + k])) * float(scales[first + k]);
    }
  }
};
