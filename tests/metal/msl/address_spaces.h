// Declarations only, for clang's C++ for OpenCL: Metal's address spaces under OpenCL's names (device is global, constant
// constant, threadgroup local, thread private) and the functions kernels call. Nothing here runs.
#pragma OPENCL EXTENSION cl_khr_fp16 : enable
#define METAL_FUNC inline __attribute__((always_inline))
#define device __global
#define constant __constant
#define threadgroup __local
#define thread __private
#define INFINITY __builtin_inff()
#define NAN __builtin_nanf("")
typedef signed char int8_t;
typedef unsigned char uint8_t, uchar;
typedef short int16_t;
typedef unsigned short uint16_t, ushort;
typedef int int32_t;
typedef unsigned int uint32_t, uint;
typedef long int64_t;
typedef unsigned long uint64_t, ulong, size_t;
typedef half float16_t;
typedef __bf16 bfloat, bfloat16_t;  // that a float does not become one unasked, the executor sees

namespace metal {
template <class T, int N> using vec = T __attribute__((ext_vector_type(N)));
typedef vec<uint, 2> uint2;
typedef vec<uint, 3> uint3;
typedef vec<ulong, 2> ulong2;
typedef vec<float, 2> float2;
ulong2 make_ulong2(ulong, ulong);
template <class To, class From> To as_type(From from) {
  static_assert(sizeof(To) == sizeof(From), "as_type: sizes differ");
  return __builtin_astype(from, To);
}
// Overloads, not templates: min(uint, int) is ambiguous, as in Metal.
#define LQ_ORDERED(T) \
  T min(T, T); \
  T max(T, T); \
  T clamp(T, T, T);
LQ_ORDERED(int) LQ_ORDERED(uint) LQ_ORDERED(long) LQ_ORDERED(ulong) LQ_ORDERED(half) LQ_ORDERED(float)
#define LQ_FLOATS(T) \
  T abs(T); T fabs(T); T exp(T); T exp2(T); T log2(T); T sqrt(T); T rsqrt(T); T floor(T); T ceil(T); T rint(T); \
  T round(T); T fma(T, T, T); T copysign(T, T); T ldexp(T, int); bool isnan(T); bool isinf(T);
LQ_FLOATS(half) LQ_FLOATS(float)
int abs(int);
template <class T> T select(T, T, bool);
template <class T> T popcount(T);
template <class T> T clz(T);
template <class T> T extract_bits(T, uint, uint);
enum class mem_flags { mem_none, mem_device, mem_threadgroup };
void threadgroup_barrier(mem_flags);
void simdgroup_barrier(mem_flags);
template <class T> T simd_sum(T);
template <class T> T simd_max(T);
template <class T> T simd_min(T);
template <class T> T simd_shuffle(T, ushort);
template <class T> T simd_broadcast(T, ushort);
template <class T> T simd_shuffle_xor(T, ushort);
template <class T> T simd_shuffle_down(T, ushort);
// A vector: OpenCL's structs without an address space that stands for all cannot be assigned.
template <class T, int R, int C> using simdgroup_matrix = vec<T, 2>;
typedef simdgroup_matrix<float, 8, 8> simdgroup_float8x8;
typedef simdgroup_matrix<half, 8, 8> simdgroup_half8x8;
#define LQ_MOVES(space) \
  template <class T> \
  void simdgroup_load(thread simdgroup_matrix<T, 8, 8>&, const space T*, ulong = 8, ulong2 = (ulong2)(0), bool = false); \
  template <class T> \
  void simdgroup_store(simdgroup_matrix<T, 8, 8>, space T*, ulong = 8, ulong2 = (ulong2)(0), bool = false);
LQ_MOVES(device) LQ_MOVES(threadgroup)
template <class D, class A, class B, class C>
void simdgroup_multiply_accumulate(
    thread simdgroup_matrix<D, 8, 8>&, simdgroup_matrix<A, 8, 8>, simdgroup_matrix<B, 8, 8>, simdgroup_matrix<C, 8, 8>);
template <class T, int R = 8, int C = R> simdgroup_matrix<T, R, C> make_filled_simdgroup_matrix(T);
}  // namespace metal
using namespace metal;
