// A C++ rendering of the scalar types of the Metal Shading Language, as far as kernels of this repository and MLX's
// utils.h use them. g++ 12 or newer: half is _Float16, which rounds after every operation, as Metal's does.
#pragma once
#include <type_traits>

#include "executor.h"

#define __METAL__ 1
#define __METAL_VERSION__ 320
#define LQ_F inline __attribute__((always_inline))
#define METAL_FUNC LQ_F
#define LQ_SITE(kind) int lq_site = __builtin_LINE() * 64 + kind
#define INFINITY __builtin_inff()
#define NAN __builtin_nanf("")

typedef _Float16 half;
typedef unsigned char uchar;
typedef unsigned short ushort;
typedef unsigned int uint;
typedef unsigned long ulong;

template <class To, class From> LQ_F To as_type(From f) {
  static_assert(sizeof(To) == sizeof(From), "as_type: sizes differ");
  To t;
  __builtin_memcpy(&t, &f, sizeof t);
  return t;
}

// Implicitly to float, never implicitly from a float, as in MSL: what compiles here without a cast compiles there.
struct bfloat {
  uint16_t bits;
  bfloat() = default;
  static LQ_F constexpr uint16_t nearest_even(float f) {
    const uint32_t u = __builtin_bit_cast(uint32_t, f);
    return (u & 0x7fffffffu) > 0x7f800000u ? uint16_t((u >> 16) | 64) : uint16_t((u + 0x7fffu + ((u >> 16) & 1)) >> 16);
  }
  template <class U, std::enable_if_t<std::is_integral<U>::value, int> = 0>
  LQ_F constexpr bfloat(U v) : bits(nearest_even(float(v))) {}
  LQ_F explicit constexpr bfloat(float v) : bits(nearest_even(v)) {}
  LQ_F explicit constexpr bfloat(double v) : bits(nearest_even(float(v))) {}
  LQ_F explicit constexpr bfloat(half v) : bits(nearest_even(float(v))) {}
  LQ_F constexpr operator float() const { return __builtin_bit_cast(float, uint32_t(bits) << 16); }
  friend LQ_F constexpr bfloat operator+(bfloat a, bfloat b) { return bfloat(float(a) + float(b)); }
  friend LQ_F constexpr bfloat operator-(bfloat a, bfloat b) { return bfloat(float(a) - float(b)); }
  friend LQ_F constexpr bfloat operator*(bfloat a, bfloat b) { return bfloat(float(a) * float(b)); }
  friend LQ_F constexpr bfloat operator/(bfloat a, bfloat b) { return bfloat(float(a) / float(b)); }
  friend LQ_F constexpr bfloat operator-(bfloat a) { return bfloat(-float(a)); }
};
LQ_F constexpr half operator""h(long double v) { return half(v); }

namespace metal {
using std::conditional_t;
using std::enable_if_t;
using std::false_type;
using std::integral_constant;
using std::is_convertible;
using std::is_integral;
using std::is_same;
using std::is_signed;
using std::is_unsigned;
using std::remove_cv_t;
using std::true_type;
template <bool B> using bool_constant = std::integral_constant<bool, B>;
template <class A, class B> constexpr bool is_same_v = std::is_same<A, B>::value;
template <class A, class B> constexpr bool is_convertible_v = std::is_convertible<A, B>::value;
template <class A> constexpr bool is_integral_v = std::is_integral<A>::value;
template <class A>
constexpr bool is_floating_point_v = std::is_floating_point<A>::value || is_same_v<A, half> || is_same_v<A, bfloat>;

template <class T> struct numeric_limits;
#define LQ_INTEGER_LIMITS(T, lo, hi) \
  template <> struct numeric_limits<T> { \
    static constexpr T min() { return T(lo); } \
    static constexpr T max() { return T(hi); } \
  };
LQ_INTEGER_LIMITS(int8_t, -128, 127)
LQ_INTEGER_LIMITS(uint8_t, 0, 255)
LQ_INTEGER_LIMITS(int16_t, -32768, 32767)
LQ_INTEGER_LIMITS(uint16_t, 0, 65535)
LQ_INTEGER_LIMITS(int32_t, -2147483647 - 1, 2147483647)
LQ_INTEGER_LIMITS(uint32_t, 0, 4294967295u)
LQ_INTEGER_LIMITS(int64_t, -9223372036854775807L - 1, 9223372036854775807L)
LQ_INTEGER_LIMITS(uint64_t, 0, 18446744073709551615UL)
#define LQ_FLOAT_LIMITS(T, lo, hi, step) \
  template <> struct numeric_limits<T> { \
    static constexpr T min() { return T(lo); } \
    static constexpr T max() { return T(hi); } \
    static constexpr T lowest() { return -T(hi); } \
    static constexpr T epsilon() { return T(step); } \
    static constexpr T infinity() { return T(__builtin_inff()); } \
    static constexpr T quiet_NaN() { return T(__builtin_nanf("")); } \
  };
LQ_FLOAT_LIMITS(float, 1.17549435e-38f, 3.40282347e38f, 1.1920929e-7f)
LQ_FLOAT_LIMITS(half, 6.103515625e-5f, 65504.f, 9.765625e-4f)
LQ_FLOAT_LIMITS(bfloat, 1.17549435e-38f, 3.38953139e38f, 7.8125e-3f)
}  // namespace metal
