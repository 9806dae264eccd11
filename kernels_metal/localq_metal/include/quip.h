// QuIP# between its rotations. E8P: the high byte of a code names a vector of 8 (`points`, 4 times its coordinates),
// the low byte their signs; the parity of it says whether 1/4 is taken away (and bit 0 is then flipped back) or added.
// LAYERS 3: a byte of `second` names a vector of `short8`; LAYERS 4: a second E8P code. `quotients` has what 4 times a
// coordinate of the second layer stands for, from -16 on.
// constants: LAYERS
struct Format {
  const device ushort* w;
  const device ushort* second;
  const device int8_t* points;
  const device int8_t* short8;
  const device float* quotients;
  uint rows, columns;

  // The coordinate `i` of a code, times 4.
  METAL_FUNC int point(uint code, uint i) const {
    const uint low = code & 255, fold = low ^ (low >> 4), pairs = fold ^ (fold >> 2), odd = (pairs ^ (pairs >> 1)) & 1;
    const uint sign = ((low ^ odd) >> (i % 2 == 0 ? i / 2 : i / 2 + 4)) & 1;
    const int size = int(points[8 * (code >> 8) + i]);
    return (sign == 0 ? size : -size) + (odd == 0 ? 1 : -1);
  }

  METAL_FUNC void decode16(size_t row, uint c, thread float* out) const {
    const size_t at = row * (columns / 8) + 2 * c;
    const uint pair = LAYERS == 3 ? uint(second[at / 2]) : 0;
    for (uint k = 0; k < 16; k++) {
      const uint i = k % 8;
      out[k] = 0.25f * float(point(w[at + k / 8], i));
      if (LAYERS == 3) out[k] += quotients[int(short8[8 * ((pair >> (k / 8 * 8)) & 255) + i]) + 16];
      if (LAYERS == 4) out[k] += quotients[point(second[at + k / 8], i) + 16];
    }
  }
};
