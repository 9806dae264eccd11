// EXL3 between its rotations: tiles of 16 inputs and 16 rows, each a stream of 256 codes of HALVES / 2 bits (odd: of one
// bit less and one more in turn), highest bit first in words of 32. The 16 bits that end with a code are its state, running round the tile; BOOK says how a state becomes
// a half: 0 and 1 add the halves of a product of it, 2 scales the sum of the product's bytes (exact until rounded).
// constants: HALVES, BOOK
struct Format {
  const device uint* w;
  uint rows, columns;

  METAL_FUNC void decode16(size_t row, uint c, thread float* out) const {
    const size_t matrix = row / rows, line = row % rows;
    const device uint* tile = w + ((matrix * (columns / 16) + c) * (rows / 16) + line / 16) * (4 * HALVES);
    const uint column = line % 16;
    for (uint k = 0; k < 16; k++) {  // in the order of a tensor core's registers
      const uint lane = column % 8 * 4 + k % 8 / 2, code = 8 * lane + 4 * (column / 8) + 2 * (k / 8) + k % 2;
      const uint end = (code + 257) * HALVES / 2, left = (0u - end) & 31;
      const uint first = tile[(end - 16) / 32 % (4 * HALVES)], last = tile[(end - 1) / 32 % (4 * HALVES)];
      const uint state = (left == 0 ? last : (last >> left) | (first << (32 - left))) & 0xffff;
      if (BOOK == 2) {
        const uint x = state * 0x83dcd12du;
        const uint sum = 1024 + (x & 255) + ((x >> 8) & 255) + ((x >> 16) & 255) + (x >> 24);
        const float scaled = float(sum) * float(as_type<half>(ushort(0x1eee))) + float(as_type<half>(ushort(0xc931)));
        out[k] = float(half(scaled));
      } else {
        const uint x = BOOK == 1 ? state * 0xcbac1fedu : state * 89226354u + 64248484u;
        const uint pair = (x & 0x8fff8fffu) ^ 0x3b603b60u;
        out[k] = float(half(as_type<half>(ushort(pair & 0xffff)) + as_type<half>(ushort(pair >> 16))));
      }
    }
  }
};
