// nvfp4_ggml: 4 E4M3 scales (sign ignored, 127 is zero), 32 bytes of E2M1 nibbles: of the 8 bytes of 16 weights first
// the low ones. E2M1 values are kept doubled, the digits of a hexadecimal number, and scales halved. A float32 a row
// comes on top. Loads of 4 bytes: 36 = 4 * 9.
struct Format {
  enum { WEIGHTS = 64, BYTES = 36, ALIGN = 4 };
  enum { RUN = 16, SPAN = 1, STRIDE = 16 };
  const device uint8_t* w;
  const device float* scale;
  uint rows, columns;

  METAL_FUNC float half_of_scale(uint byte) const {
    const uint e = (byte >> 3) & 15, mantissa = byte & 7;
    const float power = as_type<float>((max(e, 1u) + 116) << 23);
    return byte == 127 ? 0.0f : power * float(e > 0 ? mantissa + 8 : mantissa);
  }

  // 16 weights, number `chunk` of the block: one scale's worth.
  METAL_FUNC void decode16(size_t row, uint c, thread float* out) const {
    const device uint8_t* block = w + (row * (columns / WEIGHTS) + c / (WEIGHTS / 16)) * BYTES;
    const uint chunk = c % (WEIGHTS / 16);
    const float d = half_of_scale(block[chunk]);
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
  // A half of E2M1's bits, its sign moved, is the value divided by 2^14: the exponents' biases are 1 and 15.
  METAL_FUNC float small(uint bits) const { return float(as_type<half>(ushort(bits))); }

  METAL_FUNC float dot(size_t row, uint first, thread float* x, thread float* sums) const {
    const device uint8_t* block = w + (row * (columns / WEIGHTS) + first / WEIGHTS) * BYTES;
    const uint chunk = first % WEIGHTS / 16;
    const device uint* q = (const device uint*)(block + 4 + 8 * chunk);
    float s = 0.0f;
    for (uint i = 0; i < 2; i++) {  // of bytes 0 and 2, then 1 and 3
      const uint v = q[i];
      const uint low = ((v & 0x00070007) << 9) | ((v & 0x00080008) << 12);
      const uint next = ((v & 0x07000700) << 1) | ((v & 0x08000800) << 4);
      const uint high = ((v & 0x00700070) << 5) | ((v & 0x00800080) << 8);
      const uint last = ((v & 0x70007000) >> 3) | (v & 0x80008000);
      s += small(low & 0xffff) * x[4 * i] + small(low >> 16) * x[4 * i + 2];
      s += small(next & 0xffff) * x[4 * i + 1] + small(next >> 16) * x[4 * i + 3];
      s += small(high & 0xffff) * x[4 * i + 8] + small(high >> 16) * x[4 * i + 10];
      s += small(last & 0xffff) * x[4 * i + 9] + small(last >> 16) * x[4 * i + 11];
    }
    return s * 32768.0f * half_of_scale(block[chunk]) * scale[row];
  }
};
