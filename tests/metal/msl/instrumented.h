// What g++ and clang call for every load and store under -fsanitize=thread; libtsan itself is not linked.
// Part of executor.cpp.
#define PC ((uintptr_t)__builtin_return_address(0) - 1)
#define SIZED(n) \
  void __tsan_read##n(void* p) { access(p, n, false, true, PC); } \
  void __tsan_write##n(void* p) { access(p, n, true, true, PC); } \
  void __tsan_unaligned_read##n(void* p) { access(p, n, false, UNALIGNED, PC); } \
  void __tsan_unaligned_write##n(void* p) { access(p, n, true, UNALIGNED, PC); } \
  void __tsan_read##n##_pc(void* p, void*) { access(p, n, false, true, PC); } \
  void __tsan_write##n##_pc(void* p, void*) { access(p, n, true, true, PC); } \
  void __tsan_volatile_read##n(void* p) { access(p, n, false, true, PC); } \
  void __tsan_volatile_write##n(void* p) { access(p, n, true, true, PC); }
#ifdef __clang__
#define UNALIGNED false  // clang may merge byte loads before it instruments; gcc instruments first
#else
#define UNALIGNED true
#endif

extern "C" {
SIZED(1) SIZED(2) SIZED(4) SIZED(8) SIZED(16)
void __tsan_read_range(void* p, size_t n) { access(p, unsigned(n), false, false, PC); }
void __tsan_write_range(void* p, size_t n) { access(p, unsigned(n), true, false, PC); }
void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void* __tsan_memcpy(void* to, const void* from, size_t n) {
  access((void*)from, unsigned(n), false, false, PC);
  access(to, unsigned(n), true, false, PC);
  return memcpy(to, from, n);
}
void* __tsan_memset(void* p, int c, size_t n) {
  access(p, unsigned(n), true, false, PC);
  return memset(p, c, n);
}
}
