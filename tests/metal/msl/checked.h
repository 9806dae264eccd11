// What a checked launch watches, byte by byte: bounds, writes to inputs and constants, alignment, reads of threadgroup
// memory and outputs that nobody wrote, races between barriers, two threadgroups on one byte, outputs never written.
// Part of executor.cpp. A race is a pair of accesses by two threads, one a write, in one epoch of the memory; inside
// a simdgroup, in one epoch of the simdgroup.
#include <link.h>

struct Shadow {  // of one byte; epochs never repeat
  uint32_t writer_group, write_epoch, write_simd_epoch, read_epoch, read_simd_epoch;
  uint16_t writer, reader;  // thread + 1, 0 for nobody; MANY readers are not told apart
};
constexpr uint16_t MANY = 0xffff;
std::vector<Shadow> arena_shadow(ARENA);
std::vector<std::vector<Shadow>> output_shadow;
std::vector<std::pair<uintptr_t, uintptr_t>> own_segments;  // this library's constants, among others
uintptr_t own_base;
std::vector<uint64_t> loads, loaded;  // of every buffer: how often it was read, how many bytes

int find_own(struct dl_phdr_info* info, size_t, void*) {
  std::vector<std::pair<uintptr_t, uintptr_t>> segments;
  bool own = false;
  for (int k = 0; k < info->dlpi_phnum; k++) {
    const auto& h = info->dlpi_phdr[k];
    if (h.p_type != PT_LOAD) continue;
    const uintptr_t from = info->dlpi_addr + h.p_vaddr, to = from + h.p_memsz;
    segments.push_back({from, to});
    own = own || ((uintptr_t)&find_own >= from && (uintptr_t)&find_own < to);
  }
  if (!own) return 0;
  own_base = info->dlpi_addr;
  own_segments = segments;
  return 1;
}

// Is the access of thread t (+ 1) in these epochs concurrent with one of the running thread now?
bool concurrent(uint16_t t, uint32_t then, uint32_t now, uint32_t simd_then) {
  const lq_ids& me = current->ids;
  if (!t || t == me.thread_index_in_threadgroup + 1 || then != now) return false;
  const bool same_simdgroup = t != MANY && unsigned(t - 1) / SIMD == me.simdgroup_index_in_threadgroup;
  return !same_simdgroup || simd_then == simdgroups[me.simdgroup_index_in_threadgroup].epoch;
}

// One byte of shared memory is touched; false after a finding.
bool touch(Shadow& b, bool write, bool device, uintptr_t pc, const char* what, size_t at) {
  const uint32_t now = device ? device_epoch : threadgroup_epoch, number = uint32_t(group) + 1;
  const uint32_t simd_now = simdgroups[current->ids.simdgroup_index_in_threadgroup].epoch;
  const bool written = device ? b.writer_group != 0 : b.writer_group == number;
  const uint16_t me = uint16_t(current->ids.thread_index_in_threadgroup + 1);
  const char* problem = nullptr;
  if (!write && !written) problem = "uninitialised read of";
  else if (device && b.writer_group && b.writer_group != number) problem = "two threadgroups touch";
  else if (written && concurrent(b.writer, b.write_epoch, now, b.write_simd_epoch)) problem = "race on";
  else if (write && written && concurrent(b.reader, b.read_epoch, now, b.read_simd_epoch)) problem = "race on";
  if (problem) {
    report("pc=%lx %s %s byte %zu by %s", pc - own_base, problem, what, at, where().c_str());
    return false;
  }
  if (write) {
    b.writer_group = number;
    b.writer = me;
    b.write_epoch = now;
    b.write_simd_epoch = simd_now;
    b.reader = 0;
  } else {
    b.reader = b.reader && b.reader != me && b.read_epoch == now ? MANY : me;
    b.read_epoch = now;
    b.read_simd_epoch = simd_now;
  }
  return true;
}

void touch_all(Shadow* s, unsigned n, bool write, bool device, uintptr_t pc, const char* what, size_t at) {
  for (unsigned i = 0; i < n; i++)
    if (!touch(s[i], write, device, pc, what, at + i)) return;
}

[[noreturn]] void refuse(uintptr_t pc, const char* what, unsigned n) {
  report("pc=%lx %s of %u bytes by %s", pc - own_base, what, n, where().c_str());
  die();
}

// The buffer nearest to p, for a report: an index that ran out is rarely far away.
[[noreturn]] void out_of_bounds(const char* p, unsigned n, bool write, uintptr_t pc) {
  size_t nearest = 0;
  long least = 1L << 62;
  for (size_t i = 0; i < launch->buffers.size(); i++) {
    const Buffer& b = launch->buffers[i];
    const long distance = p < b.start ? b.start - p : p - (b.start + b.size) + 1;
    if (distance < least) {
      least = distance;
      nearest = i;
    }
  }
  const Buffer& b = launch->buffers[nearest];
  report("pc=%lx out-of-bounds %s of %u bytes at byte %ld of buffer %zu (size %zu) by %s", pc - own_base,
         write ? "write" : "read", n, long(p - b.start), nearest, b.size, where().c_str());
  die();
}

// Every load and store of the kernel comes here. Unless `aligned` says otherwise, n bytes want an n-byte boundary.
void access(void* address, unsigned n, bool write, bool aligned, uintptr_t pc) {
  if (!current) return;
  char* p = (char*)address;
  if (p >= current->stack && p + n <= current->stack + STACK) return;
  if (aligned && n <= 16 && ((uintptr_t)p & (n - 1)))  // an x86 host forgives it, a GPU need not
    report("pc=%lx misaligned %u-byte %s by %s", pc - own_base, n, write ? "write" : "read", where().c_str());
  if (p >= arena && p < arena + ARENA) {
    for (auto& [id, v] : variables)
      if (p >= v.start && p + n <= v.start + v.size)
        return touch_all(&arena_shadow[p - arena], n, write, false, pc, "threadgroup array", p - v.start);
    refuse(pc, write ? "out-of-bounds threadgroup write" : "out-of-bounds threadgroup read", n);
  }
  for (size_t i = 0; i < launch->buffers.size(); i++) {
    const Buffer& b = launch->buffers[i];
    if (p < b.start || p + n > b.start + b.size) continue;
    if (b.output) touch_all(&output_shadow[i][p - b.start], n, write, true, pc, "output", p - b.start);
    else if (write) refuse(pc, "write to an input", n);
    if (!write) {
      loads[i]++;
      loaded[i] += n;
    }
    return;
  }
  if (p >= (char*)fibers.data() && p < (char*)(fibers.data() + fibers.size())) return;  // the ids of a thread
  for (auto& [from, to] : own_segments)
    if ((uintptr_t)p >= from && (uintptr_t)p < to) {
      if (write) refuse(pc, "write to a program-scope constant", n);
      return;
    }
  if (p >= stacks && p < stacks + (STACK + PAGE) * fibers.size()) refuse(pc, "access to another thread's variables", n);
  out_of_bounds(p, n, write, pc);
}

void start_checks() {
  if (own_segments.empty()) dl_iterate_phdr(find_own, nullptr);
  output_shadow.assign(launch->buffers.size(), {});
  loads.assign(launch->buffers.size(), 0);
  loaded.assign(launch->buffers.size(), 0);
  for (size_t i = 0; i < launch->buffers.size(); i++)
    if (launch->buffers[i].output) output_shadow[i].assign(launch->checked ? launch->buffers[i].size : 0, Shadow{});
}

void finish_checks() {
  if (!launch->checked) return;
  for (size_t i = 0; i < output_shadow.size(); i++) {
    size_t missing = 0, first = 0;
    for (size_t k = 0; k < output_shadow[i].size(); k++)
      if (!output_shadow[i][k].writer_group && !missing++) first = k;
    if (missing)
      report("%zu of %zu output bytes never written, the first at %zu", missing, output_shadow[i].size(), first);
  }
}
