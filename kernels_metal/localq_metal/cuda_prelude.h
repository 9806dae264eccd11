// Put before a kernel that cuda.py has translated: the types, ids and simdgroup functions of Metal that kernels use, for
// NVIDIA's compiler. A simdgroup is a warp. MLX's own headers come first; the kernel stands in namespace mlx::core::cu.
typedef unsigned char uchar;
typedef unsigned short ushort;
typedef unsigned int uint;
typedef unsigned long ulong;
typedef __nv_bfloat16 bfloat16_t;
#define METAL_FUNC __device__ __forceinline__
namespace metal {
enum class mem_flags { mem_none, mem_device, mem_threadgroup };
METAL_FUNC void threadgroup_barrier(mem_flags) { __syncthreads(); }
METAL_FUNC void simdgroup_barrier(mem_flags) { __syncwarp(); }
template <class T> METAL_FUNC T simd_shuffle_xor(T v, ushort lanes) { return __shfl_xor_sync(0xffffffffu, v, lanes); }
template <class T> METAL_FUNC T simd_shuffle(T v, ushort lane) { return __shfl_sync(0xffffffffu, v, lane); }
template <class T> METAL_FUNC T simd_broadcast(T v, ushort lane) { return __shfl_sync(0xffffffffu, v, lane); }
template <class T> METAL_FUNC T simd_sum(T v) {
  for (int lanes = 16; lanes > 0; lanes /= 2) v += __shfl_xor_sync(0xffffffffu, v, lanes);
  return v;
}
template <class T> METAL_FUNC T simd_max(T v) {
  for (int lanes = 16; lanes > 0; lanes /= 2) v = max(v, __shfl_xor_sync(0xffffffffu, v, lanes));
  return v;
}
template <class T> METAL_FUNC T simd_min(T v) {
  for (int lanes = 16; lanes > 0; lanes /= 2) v = min(v, __shfl_xor_sync(0xffffffffu, v, lanes));
  return v;
}
METAL_FUNC uint popcount(uint v) { return uint(__popc(int(v))); }
template <class T> METAL_FUNC T select(T otherwise, T chosen, bool which) { return which ? chosen : otherwise; }
template <class To, class From> METAL_FUNC To as_type(const From& from) {
  static_assert(sizeof(To) == sizeof(From), "as_type: sizes differ");
  To to;
  memcpy(&to, &from, sizeof(to));
  return to;
}
}  // namespace metal
using namespace metal;
#define thread_position_in_grid \
  (make_uint3(blockIdx.x * blockDim.x + threadIdx.x, blockIdx.y * blockDim.y + threadIdx.y, blockIdx.z * blockDim.z + threadIdx.z))
#define threadgroup_position_in_grid (make_uint3(blockIdx.x, blockIdx.y, blockIdx.z))
#define thread_index_in_threadgroup (threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z))
#define thread_index_in_simdgroup (thread_index_in_threadgroup & 31u)
#define simdgroup_index_in_threadgroup (thread_index_in_threadgroup >> 5)
