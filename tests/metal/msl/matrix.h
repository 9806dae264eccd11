// simdgroup_matrix of 8 x 8: each lane holds two neighbours of a row, laid out as MLX's steel kernels rely on.
#pragma once
#include "simdgroup.h"

namespace metal {
template <class T, int R = 8, int C = 8> struct simdgroup_matrix {
  static_assert(R == 8 && C == 8, "MSL has 8 x 8 only");
  vec<T, 2> pair;
  LQ_F vec<T, 2>& thread_elements() { return pair; }
  LQ_F T& at(int k) { return k ? pair.y : pair.x; }
  static LQ_F void place(unsigned lane, unsigned& row, unsigned& column) {
    const unsigned quad = lane / 4;
    row = (quad & 4) + (lane / 2) % 4;
    column = (quad & 2) * 2 + (lane % 2) * 2;
  }
};
typedef simdgroup_matrix<float> simdgroup_float8x8;
typedef simdgroup_matrix<half> simdgroup_half8x8;
typedef simdgroup_matrix<bfloat> simdgroup_bfloat8x8;

template <class T, int R = 8, int C = R> LQ_F simdgroup_matrix<T, R, C> make_filled_simdgroup_matrix(T v) {
  simdgroup_matrix<T, R, C> m;
  m.pair = vec<T, 2>(v, v);
  return m;
}
template <class T, class E>
LQ_F void simdgroup_load(
    simdgroup_matrix<T>& m, const E* from, ulong step = 8, ulong2 origin = ulong2(0, 0), bool transposed = false,
    LQ_SITE(13)) {
  lq_sg_barrier(0, lq_site);  // every lane takes part; it fences nothing
  unsigned row, column;
  m.place(lq_cur->thread_index_in_simdgroup, row, column);
  for (int k = 0; k < 2; k++) {
    const ulong r = transposed ? column + k : row, c = transposed ? row : column + k;
    m.at(k) = T(from[(origin.y + r) * step + origin.x + c]);
  }
}
template <class T, class E>
LQ_F void simdgroup_store(
    simdgroup_matrix<T> m, E* to, ulong step = 8, ulong2 origin = ulong2(0, 0), bool transposed = false, LQ_SITE(14)) {
  lq_sg_barrier(0, lq_site);
  unsigned row, column;
  m.place(lq_cur->thread_index_in_simdgroup, row, column);
  for (int k = 0; k < 2; k++) {
    const ulong r = transposed ? column + k : row, c = transposed ? row : column + k;
    to[(origin.y + r) * step + origin.x + c] = E(m.at(k));
  }
}
template <class A, class B> struct lq_pairs {
  vec<A, 2> a;
  vec<B, 2> b;
};
// Row `row` of A and columns `column`, `column + 1` of B, from what all lanes have.
template <class A, class B>
LQ_UNSEEN void lq_factors(const char* slots, unsigned row, unsigned column, float* left, float (*right)[2]) {
  for (unsigned lane = 0; lane < 32; lane++) {
    unsigned r, k;
    simdgroup_matrix<A>::place(lane, r, k);
    lq_pairs<A, B> theirs;
    __builtin_memcpy(&theirs, slots + 32 * lane, sizeof theirs);
    if (r == row) {
      left[k] = float(theirs.a.x);
      left[k + 1] = float(theirs.a.y);
    }
    if (k == column) {
      right[r][0] = float(theirs.b.x);
      right[r][1] = float(theirs.b.y);
    }
  }
}
template <class D, class A, class B, class C>
LQ_F void simdgroup_multiply_accumulate(
    simdgroup_matrix<D>& d, simdgroup_matrix<A> a, simdgroup_matrix<B> b, simdgroup_matrix<C> c, LQ_SITE(15)) {
  const lq_pairs<A, B> mine = {a.pair, b.pair};
  uint32_t active;
  const char* slots = lq_simd_xchg(&mine, sizeof mine, lq_site, &active);
  if (active != 0xffffffffu) lq_fail("simdgroup_multiply_accumulate with inactive lanes");
  unsigned row, column;
  d.place(lq_cur->thread_index_in_simdgroup, row, column);
  float left[8], right[8][2];
  lq_factors<A, B>(slots, row, column, left, right);
  for (int k = 0; k < 2; k++) {
    float sum = float(c.at(k));
    for (int i = 0; i < 8; i++) {
      const int at = lq_sum_order == 2 ? 7 - i : i;
      sum += left[at] * right[at][k];
    }
    d.at(k) = D(sum);
  }
}
template <class T>
LQ_F void simdgroup_multiply(simdgroup_matrix<T>& d, simdgroup_matrix<T> a, simdgroup_matrix<T> b, LQ_SITE(16)) {
  simdgroup_multiply_accumulate(d, a, b, make_filled_simdgroup_matrix<T>(T(0)), lq_site);
}
}  // namespace metal
