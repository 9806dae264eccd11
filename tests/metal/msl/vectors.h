// Vectors as kernels of this repository and MLX's utils.h use them: ids and pairs, no arithmetic, no swizzles.
#pragma once
#include "types.h"

namespace metal {
template <class T, int N> struct vec;
template <class T> struct alignas(2 * sizeof(T)) vec<T, 2> {
  T x, y;
  vec() = default;
  LQ_F explicit constexpr vec(T a) : x(a), y(a) {}
  LQ_F constexpr vec(T a, T b) : x(a), y(b) {}
  LQ_F T& operator[](int k) { return k ? y : x; }
  LQ_F const T& operator[](int k) const { return k ? y : x; }
};
template <class T> struct alignas(4 * sizeof(T)) vec<T, 3> {
  T x, y, z;
  vec() = default;
  LQ_F constexpr vec(T a, T b, T c) : x(a), y(b), z(c) {}
};
template <class T> struct alignas(sizeof(T) * 4 > 16 ? 16 : sizeof(T) * 4) vec<T, 4> {
  T x, y, z, w;
  vec() = default;
  LQ_F constexpr vec(T a, T b, T c, T d) : x(a), y(b), z(c), w(d) {}
};
#define LQ_VECTORS(T) \
  typedef vec<T, 2> T##2; \
  typedef vec<T, 3> T##3; \
  typedef vec<T, 4> T##4;
LQ_VECTORS(char) LQ_VECTORS(uchar) LQ_VECTORS(short) LQ_VECTORS(ushort) LQ_VECTORS(int) LQ_VECTORS(uint)
LQ_VECTORS(long) LQ_VECTORS(ulong) LQ_VECTORS(half) LQ_VECTORS(bfloat) LQ_VECTORS(float) LQ_VECTORS(bool)
}  // namespace metal
