#pragma once
// In place of MLX's own, which overloads members on the address space; kernels here use no complex numbers.
template <class T> struct complex_t {
  T real, imag;
  complex_t() = default;
  complex_t(T r, T i) : real(r), imag(i) {}
};
typedef complex_t<float> complex64_t;
