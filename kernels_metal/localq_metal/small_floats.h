// float to the small floats of OCP's 8-bit and Microscaling specifications; overflow saturates, NaN becomes the largest.
METAL_FUNC uint to_e4m3(float x) {
  uint u = as_type<uint>(x);
  const uint sign = (u >> 24) & 128;
  u &= 0x7fffffff;
  if (u >= 0x43e00000) return sign | 126;  // from 448, the largest
  if (u < 0x3c800000) {                    // below 2^-6: steps of 2^-9, left over by an addition whose unit is that
    return sign | (as_type<uint>(as_type<float>(u) + 16384.0f) - 0x46800000);
  }
  return sign | ((u - 0x3c000000 + 0x7ffff + ((u >> 20) & 1)) >> 20);
}

METAL_FUNC float from_e4m3(uint code) {
  const uint e = (code >> 3) & 15, m = code & 7;
  const float x = e ? as_type<float>(((e + 120) << 23) | (m << 20)) : float(m) * 0.001953125f;
  return code & 128 ? -x : x;
}

METAL_FUNC uint to_e2m1(float x) {
  const uint sign = (as_type<uint>(x) >> 28) & 8;
  const float a = abs(x);
  uint code = uint(a > 0.25f) + uint(a >= 0.75f) + uint(a > 1.25f) + uint(a >= 1.75f);
  code += uint(a > 2.5f) + uint(a >= 3.5f) + uint(a > 5.0f);
  return isnan(x) ? 7u : sign | code;
}

// The exponent of the smallest power of two that is not below x >= 0, plus 127.
METAL_FUNC uint to_e8m0(float x) {
  const uint u = as_type<uint>(x);
  if (u >= 0x7f800000) return 255;
  return min((u >> 23) + uint((u & 0x7fffff) != 0), 254u);
}

METAL_FUNC float from_e8m0(uint code) {
  return as_type<float>(code ? code << 23 : 0x400000u);
}
