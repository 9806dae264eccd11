// Scalar functions. Overload sets, not templates: a call that is ambiguous in Metal, min(uint, int), is ambiguous here.
// Precision of exp and its like is the host's; no test may depend on it.
#pragma once
#include "vectors.h"

namespace metal {
#define LQ_INTEGER(T) \
  LQ_F constexpr T min(T a, T b) { return b < a ? b : a; } \
  LQ_F constexpr T max(T a, T b) { return a < b ? b : a; } \
  LQ_F constexpr T clamp(T x, T lo, T hi) { return min(max(x, lo), hi); }
LQ_INTEGER(char) LQ_INTEGER(int8_t) LQ_INTEGER(uchar) LQ_INTEGER(short) LQ_INTEGER(ushort) LQ_INTEGER(int)
LQ_INTEGER(uint) LQ_INTEGER(long) LQ_INTEGER(ulong)

#define LQ_ONE(T, name, expression) \
  LQ_F T name(T a) { \
    const float x = float(a); \
    return T(expression); \
  }
#define LQ_FLOAT(T) \
  LQ_F T min(T a, T b) { return T(__builtin_fminf(float(a), float(b))); } \
  LQ_F T max(T a, T b) { return T(__builtin_fmaxf(float(a), float(b))); } \
  LQ_F T clamp(T x, T lo, T hi) { return min(max(x, lo), hi); } \
  LQ_F bool isnan(T a) { return __builtin_isnan(float(a)); } \
  LQ_F bool isinf(T a) { return __builtin_isinf(float(a)); } \
  LQ_ONE(T, abs, __builtin_fabsf(x)) \
  LQ_ONE(T, fabs, __builtin_fabsf(x)) \
  LQ_ONE(T, floor, __builtin_floorf(x)) \
  LQ_ONE(T, ceil, __builtin_ceilf(x)) \
  LQ_ONE(T, rint, __builtin_rintf(x)) \
  LQ_ONE(T, round, __builtin_roundf(x)) \
  LQ_ONE(T, exp, __builtin_expf(x)) \
  LQ_ONE(T, log, __builtin_logf(x)) \
  LQ_ONE(T, sqrt, __builtin_sqrtf(x)) \
  LQ_ONE(T, rsqrt, 1.f / __builtin_sqrtf(x))
LQ_FLOAT(float) LQ_FLOAT(half) LQ_FLOAT(bfloat)
#define LQ_TWO(name, builtin) LQ_F float name(float a, float b) { return builtin(a, b); }
LQ_TWO(fmin, __builtin_fminf) LQ_TWO(fmax, __builtin_fmaxf) LQ_TWO(atan2, __builtin_atan2f)
LQ_F float fma(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
template <class T> LQ_F T select(T a, T b, bool c) { return c ? b : a; }

template <class T> LQ_F T popcount(T x) { return T(__builtin_popcountll(std::make_unsigned_t<T>(x))); }
template <class T> LQ_F T extract_bits(T x, uint offset, uint bits) {
  if (bits == 0) return 0;
  if (offset + bits > 8 * sizeof(T)) lq_fail("extract_bits past the width of its type is undefined in MSL");
  using U = std::make_unsigned_t<T>;
  const U up = U(U(x) << (8 * sizeof(T) - offset - bits));
  return T(T(up) >> (8 * sizeof(T) - bits));
}

namespace precise {
using metal::exp;
using metal::log;
using metal::rsqrt;
using metal::sqrt;
}  // namespace precise
namespace fast = precise;
}  // namespace metal
