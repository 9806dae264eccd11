// Between a translated kernel, the shim it includes (metal_shim.h) and the executor that runs it (executor.cpp).
#pragma once
#include <stddef.h>
#include <stdint.h>

struct lq_ids {  // what the [[attributes]] of a kernel's parameters hand to it
  uint32_t thread_position_in_grid[3], thread_position_in_threadgroup[3], threadgroup_position_in_grid[3];
  uint32_t threads_per_threadgroup[3], dispatch_threads_per_threadgroup[3], threads_per_grid[3];
  uint32_t threadgroups_per_grid[3];
  uint32_t thread_index_in_threadgroup, thread_index_in_simdgroup, simdgroup_index_in_threadgroup;
  uint32_t simdgroups_per_threadgroup, dispatch_simdgroups_per_threadgroup, threads_per_simdgroup;
};

extern "C" {
extern lq_ids* lq_cur;    // of the thread that runs now
extern int lq_sum_order;  // of simd_sum and the like: 0 a tree, 1 lanes ascending, 2 descending

// Publish n (<= 32) bytes and wait for the simdgroup; gives 32 slots of 32 bytes and the mask of lanes present.
const char* lq_simd_xchg(const void* p, unsigned n, int site, uint32_t* active);
// The same, but fn reduces the slots once per simdgroup and every lane gets the result.
void lq_simd_reduce(const void* p, unsigned n, int site, void (*fn)(const char*, uint32_t, char*), void* out);
void lq_tg_barrier(int mem_flags, int site);
void lq_sg_barrier(int mem_flags, int site);
void* lq_tg_alloc(size_t bytes, int id);  // storage of threadgroup variable `id`
void lq_fail(const char* message);        // undefined in MSL: report it and stop
}
