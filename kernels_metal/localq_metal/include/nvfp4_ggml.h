// nvfp4_ggml: 4 E4M3 scales (sign ignored, 127 is zero), 32 bytes of E2M1 nibbles: of the 8 bytes of 16 weights first
// the low ones. E2M1 values are kept doubled, the digits of a hexadecimal number, and scales halved. A float32 a row
// comes on top. Loads of 4 bytes: 36 = 4 * 9.
struct Format {
  enum { WEIGHTS = 64, BYTES = 36, ALIGN = 4 };
  const device uint8_t* w;
  const device float* scale;
  uint rows, columns;

  // 16 weights, number `chunk` of the block: one scale's worth.
  METAL_FUNC void decode16(size_t row, uint c, thread float* out) const {
    const device uint8_t* block = w + (row * (columns / WEIGHTS) + c / (WEIGHTS / 16)) * BYTES;
    const uint chunk = c % (WEIGHTS / 16);
    const uint byte = block[chunk], e = (byte >> 3) & 15, mantissa = byte & 7;
    const float power = as_type<float>((max(e, 1u) + 116) << 23);
    const float d = byte == 127 ? 0.0f : power * float(e > 0 ? mantissa + 8 : mantissa);
    const device uint* q = (const device uint*)(block + 4 + 8 * chunk);
    for (uint i = 0; i < 2; i++) {
      const uint codes = q[i];
      for (uint k = 0; k < 8; k++) {
        const uint code = codes >> (8 * (k & 3) + 4 * (k >> 2));
        const int size = int((0xC8643210u >> (4 * (code & 7))) & 15);
        out[4 * i + (k & 3) + 8 * (k >> 2)] = d * float(code & 8 ? -size : size) * scale[row];
      }
    }
  }
};
