// Lets the executor run a kernel's CUDA text: cuda_prelude.h asks for these words of CUDA, and Metal's are not at hand.
#pragma once
#define metal lq_metal
#define as_type lq_as_type
#include "simdgroup.h"
#undef metal
#undef as_type
#undef METAL_FUNC
#include <string.h>
#define __device__
#define __global__
#define __forceinline__ inline __attribute__((always_inline))
#define __grid_constant__
typedef half __half;
typedef bfloat __nv_bfloat16;
struct uint3 {
  uint x, y, z;
};
LQ_F uint3 make_uint3(uint x, uint y, uint z) { return {x, y, z}; }
LQ_F uint3 lq_three(const uint32_t* v) { return {v[0], v[1], v[2]}; }
LQ_F uint3 lq_thread() { return lq_three(lq_cur->thread_position_in_threadgroup); }
LQ_F uint3 lq_block() { return lq_three(lq_cur->threadgroup_position_in_grid); }
LQ_F uint3 lq_block_size() { return lq_three(lq_cur->threads_per_threadgroup); }
#define threadIdx lq_thread()
#define blockIdx lq_block()
#define blockDim lq_block_size()
template <class T> LQ_F T __shfl_xor_sync(uint mask, T v, int lanes, LQ_SITE(40)) {
  if (mask != 0xffffffffu) lq_fail("a shuffle whose mask is not the whole warp");
  return lq_metal::simd_shuffle_xor(v, ushort(lanes), lq_site);
}
template <class T> LQ_F T __shfl_sync(uint mask, T v, int lane, LQ_SITE(41)) {
  if (mask != 0xffffffffu) lq_fail("a shuffle whose mask is not the whole warp");
  return lq_metal::simd_shuffle(v, ushort(lane), lq_site);
}
LQ_F void __syncthreads(LQ_SITE(42)) { lq_tg_barrier(3, lq_site); }
LQ_F void __syncwarp(LQ_SITE(43)) { lq_sg_barrier(3, lq_site); }
LQ_F int __popc(int v) { return __builtin_popcount(uint(v)); }
using lq_metal::abs;
using lq_metal::exp;
using lq_metal::rsqrt;
using lq_metal::floor;
using lq_metal::fma;
using lq_metal::isnan;
using lq_metal::max;
using lq_metal::min;
using lq_metal::rint;
using lq_metal::round;
