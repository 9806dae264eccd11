// Barriers and simdgroup functions: lanes meet in the executor. A call is known by its line and kind (LQ_SITE).
#pragma once
#include "maths.h"

namespace metal {
enum class mem_flags { mem_none = 0, mem_device = 1, mem_threadgroup = 2 };
LQ_F constexpr mem_flags operator|(mem_flags a, mem_flags b) { return mem_flags(int(a) | int(b)); }
LQ_F void threadgroup_barrier(mem_flags f, LQ_SITE(1)) { lq_tg_barrier(int(f), lq_site); }
LQ_F void simdgroup_barrier(mem_flags f, LQ_SITE(2)) { lq_sg_barrier(int(f), lq_site); }

#define LQ_UNSEEN __attribute__((noinline, no_sanitize("thread")))  // reads memory of the executor's
template <class T> LQ_UNSEEN T lq_slot(const char* slots, unsigned lane) {
  T t;
  __builtin_memcpy(&t, slots + 32 * lane, sizeof t);
  return t;
}
struct lq_add {
  template <class T> LQ_F T operator()(T a, T b) const { return T(a + b); }
};
struct lq_min {
  template <class T> LQ_F T operator()(T a, T b) const { return min(a, b); }
};
struct lq_max {
  template <class T> LQ_F T operator()(T a, T b) const { return max(a, b); }
};
template <class T, class Op> void lq_reduce(const char* slots, uint32_t active, char* out) {
  T v[32];
  unsigned n = 0;
  for (int k = 0; k < 32; k++) {
    const int lane = lq_sum_order == 2 ? 31 - k : k;
    if (active >> lane & 1) v[n++] = lq_slot<T>(slots, lane);
  }
  if (lq_sum_order == 0) {
    for (unsigned half = 16; half; half >>= 1)
      for (unsigned i = 0; i < half; i++)
        if (i + half < n) v[i] = Op()(v[i], v[i + half]);
  } else {
    for (unsigned i = 1; i < n; i++) v[0] = Op()(v[0], v[i]);
  }
  __builtin_memcpy(out, &v[0], sizeof(T));
}
#define LQ_REDUCTION(name, op, kind) \
  template <class T> LQ_F T name(T x, LQ_SITE(kind)) { \
    T r; \
    lq_simd_reduce(&x, sizeof x, lq_site, &lq_reduce<T, op>, &r); \
    return r; \
  }
LQ_REDUCTION(simd_sum, lq_add, 3) LQ_REDUCTION(simd_min, lq_min, 4) LQ_REDUCTION(simd_max, lq_max, 5)

template <class T> LQ_F T lq_lane(T x, unsigned from, int site) {
  uint32_t active;
  const char* slots = lq_simd_xchg(&x, sizeof x, site, &active);
  if (from > 31) return x;  // undefined in MSL; give back the own value
  if (!(active >> from & 1)) lq_fail("a simdgroup shuffle reads a lane that is not there");
  return lq_slot<T>(slots, from);
}
#define LQ_SHUFFLE(name, from, kind) \
  template <class T> LQ_F T name(T x, ushort l, LQ_SITE(kind)) { \
    const unsigned me = lq_cur->thread_index_in_simdgroup; \
    (void)me; \
    return lq_lane(x, from, lq_site); \
  }
LQ_SHUFFLE(simd_shuffle, l, 6) LQ_SHUFFLE(simd_broadcast, l, 7) LQ_SHUFFLE(simd_shuffle_xor, me ^ l, 8)
LQ_SHUFFLE(simd_shuffle_down, me + l, 9) LQ_SHUFFLE(simd_shuffle_up, me - l, 10)
template <class T> LQ_F T simd_shuffle_and_fill_up(T x, T fill, ushort l, LQ_SITE(11)) {
  const unsigned me = lq_cur->thread_index_in_simdgroup;
  const T got = lq_lane(x, me - l, lq_site);  // every lane takes part, also those that are filled
  return me < l ? fill : got;
}
template <class T> LQ_F T simd_prefix_inclusive_sum(T x, LQ_SITE(12)) {
  uint32_t active;
  const char* slots = lq_simd_xchg(&x, sizeof x, lq_site, &active);
  T sum = lq_slot<T>(slots, 0);
  for (unsigned lane = 1; lane <= lq_cur->thread_index_in_simdgroup; lane++) sum = T(sum + lq_slot<T>(slots, lane));
  return sum;
}
}  // namespace metal
