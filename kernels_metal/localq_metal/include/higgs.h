// HIGGS between its rotations: pairs of weights, points of a grid [4^BITS, 2] of each matrix, under a scale for GROUP
// weights. A stream of indices of 2 * BITS bits along each row: 8 of them are BITS times 2 bytes, loads of 2.
// constants: BITS, GROUP, S, V
struct Format {
  const device ushort* w;
  const device V* grid;
  const device S* scales;
  uint rows, columns;

  METAL_FUNC uint point(const device ushort* q, uint k) const {
    const uint at = k * BITS / 8, shift = k * BITS % 8 * 2;
    const uint next = shift + 2 * BITS > 16 ? uint(q[at + 1]) << 16 : 0;
    return ((uint(q[at]) | next) >> shift) & ((1 << (2 * BITS)) - 1);
  }

  METAL_FUNC void decode16(size_t row, uint c, thread float* out) const {
    const device V* points = grid + (row / rows) * (2 << (2 * BITS));
    const float scale = float(scales[row * (columns / GROUP) + 16 * c / GROUP]);
    const device ushort* q = w + (row * (columns / 16) + c) * BITS;
    for (uint k = 0; k < 8; k++) {
      const uint pair = point(q, k);
      out[2 * k] = float(points[2 * pair]) * scale;
      out[2 * k + 1] = float(points[2 * pair + 1]) * scale;
    }
  }

  enum { RUN = 16, SPAN = 1, STRIDE = 16 };
  METAL_FUNC float dot(size_t row, uint first, thread float* x, thread float* sums) const {
    const device V* points = grid + (row / rows) * (2 << (2 * BITS));
    const device ushort* q = w + (row * (columns / 16) + first / 16) * BITS;
    float s = 0.0f;
    for (uint k = 0; k < 8; k++) {
      const uint pair = point(q, k);
      s += float(points[2 * pair]) * x[2 * k] + float(points[2 * pair + 1]) * x[2 * k + 1];
    }
    return s * float(scales[row * (columns / GROUP) + first / GROUP]);
  }
};
