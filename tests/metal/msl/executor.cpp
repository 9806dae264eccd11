// Runs one launch of a kernel: every thread of a threadgroup is a fiber, so barriers and simdgroup functions really
// meet. A simdgroup call parks a lane until all its lanes are there, a barrier parks the threadgroup; lanes that wait
// at different places, or for lanes that have returned, are an error. Memory is watched by checked.h.
#include "executor.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <map>
#include <string>
#include <vector>
#ifdef __x86_64__
#include <xmmintrin.h>
#endif

extern "C" void lq_entry(void* const* buffers, const lq_ids* ids);  // written by the harness around the kernel
extern "C" {
lq_ids* lq_cur;
int lq_sum_order;
}

namespace {
constexpr unsigned SIMD = 32, MAX_THREADS = 1024;
constexpr size_t PAGE = 4096, STACK = 512 << 10, TG_LIMIT = 32768;
constexpr size_t ARENA = 8 * TG_LIMIT;  // threadgroup arrays stand apart by their own size, to see an index run out

// ---- context switch: a few instructions on x86-64, ucontext elsewhere
#ifdef __x86_64__
extern "C" void lq_switch(void** save, void* to);
asm(".text\n.globl lq_switch\n.hidden lq_switch\nlq_switch:\n"
    " push %rbp\n push %rbx\n push %r12\n push %r13\n push %r14\n push %r15\n mov %rsp,(%rdi)\n mov %rsi,%rsp\n"
    " pop %r15\n pop %r14\n pop %r13\n pop %r12\n pop %rbx\n pop %rbp\n ret\n");
void* make_stack(char* top, void (*f)()) {
  void** s = (void**)((uintptr_t)top & ~(uintptr_t)15);
  *--s = nullptr;
  *--s = (void*)f;
  for (int i = 0; i < 6; i++) *--s = nullptr;
  return s;
}
#else
void lq_switch(void** save, void* to) {
  ucontext_t* own = new ucontext_t;
  *save = own;
  swapcontext(own, (ucontext_t*)to);
  delete own;
}
void* make_stack(char* top, void (*f)()) {
  ucontext_t* u = new ucontext_t;
  getcontext(u);
  u->uc_stack.ss_sp = top - STACK;
  u->uc_stack.ss_size = STACK;
  u->uc_link = nullptr;
  makecontext(u, f, 0);
  return u;
}
#endif

enum State { READY, AT_SIMD, AT_SIMD_BARRIER, AT_BARRIER, DONE };
struct Fiber {
  lq_ids ids;
  void* sp;
  char* stack;
  State state;
  int site, flags;
  unsigned turn;
  char out[32];
  void (*reduce)(const char*, uint32_t, char*);
};
struct Simdgroup {
  char slot[2][SIMD * 32];  // two turns: a fast lane may be one call ahead of a slow one
  uint32_t active[2];
  char reduced[2][32];
  unsigned turn;
  uint32_t epoch;
};
struct Buffer {
  char* start;
  size_t size;
  bool output;
};
struct Variable {
  char* start;
  size_t size;
};
struct Launch {
  void* const* raw;
  std::vector<Buffer> buffers;
  uint32_t grid[3], threadgroup[3], groups[3];
  bool reversed, checked;
};

Launch* launch;
Fiber* current;
std::vector<Fiber> fibers;
std::vector<Simdgroup> simdgroups;
std::map<int, Variable> variables;  // threadgroup variables of the running threadgroup
char *arena, *stacks;
size_t used, place;
void* scheduler_sp;
unsigned threads;
uint64_t group;
bool dead;
uint32_t epoch, threadgroup_epoch, device_epoch;  // a barrier starts a new epoch of the memory it fences

std::string findings;
unsigned found;
void report(const char* format, ...) {
  char line[600];
  va_list rest;
  va_start(rest, format);
  vsnprintf(line, sizeof line, format, rest);
  va_end(rest);
  if (found++ < 20 && findings.find(line) == std::string::npos) findings += std::string(line) + "\n";
}
void yield() { lq_switch(&current->sp, scheduler_sp); }
[[noreturn]] void die() {
  dead = true;
  current->state = DONE;
  yield();
  abort();
}
std::string where() {
  char s[160];
  const lq_ids& i = current->ids;
  const uint32_t* g = i.threadgroup_position_in_grid;
  snprintf(s, sizeof s, "thread %u (simdgroup %u, lane %u) of threadgroup (%u,%u,%u)", i.thread_index_in_threadgroup,
           i.simdgroup_index_in_threadgroup, i.thread_index_in_simdgroup, g[0], g[1], g[2]);
  return s;
}
void fiber_main() {
  lq_entry(launch->raw, &current->ids);
  current->state = DONE;
  yield();
  abort();
}

#include "checked.h"

void set_ids(lq_ids& i, uint32_t t, const uint32_t* at, const uint32_t* size) {
  const uint32_t q[3] = {t % size[0], t / size[0] % size[1], t / size[0] / size[1]};
  uint32_t full = 1;
  for (int d = 0; d < 3; d++) {
    i.thread_position_in_threadgroup[d] = q[d];
    i.threadgroup_position_in_grid[d] = at[d];
    i.threads_per_threadgroup[d] = size[d];
    i.dispatch_threads_per_threadgroup[d] = launch->threadgroup[d];
    i.threads_per_grid[d] = launch->grid[d];
    i.threadgroups_per_grid[d] = launch->groups[d];
    i.thread_position_in_grid[d] = at[d] * launch->threadgroup[d] + q[d];
    full *= launch->threadgroup[d];
  }
  i.thread_index_in_threadgroup = t;
  i.thread_index_in_simdgroup = t % SIMD;
  i.simdgroup_index_in_threadgroup = t / SIMD;
  i.simdgroups_per_threadgroup = (threads + SIMD - 1) / SIMD;
  i.dispatch_simdgroups_per_threadgroup = (full + SIMD - 1) / SIMD;
  i.threads_per_simdgroup = SIMD;
}

// The last threadgroup along an axis is clipped to the grid, as Metal does.
void start_threadgroup(uint64_t number) {
  group = number;
  const uint32_t* n = launch->groups;
  const uint32_t at[3] = {uint32_t(group % n[0]), uint32_t(group / n[0] % n[1]), uint32_t(group / n[0] / n[1])};
  uint32_t size[3];
  for (int d = 0; d < 3; d++) {
    const uint32_t rest = launch->grid[d] - at[d] * launch->threadgroup[d];
    size[d] = rest < launch->threadgroup[d] ? rest : launch->threadgroup[d];
  }
  threads = size[0] * size[1] * size[2];
  used = place = 0;
  variables.clear();
  memset(arena, 0xAA, ARENA);
  threadgroup_epoch = ++epoch;
  device_epoch = ++epoch;
  for (Simdgroup& s : simdgroups) {
    s.turn = 0;
    s.epoch = ++epoch;
  }
  for (unsigned t = 0; t < threads; t++) {
    Fiber& f = fibers[t];
    set_ids(f.ids, t, at, size);
    f.state = READY;
    f.turn = 0;
    f.stack = stacks + t * (STACK + PAGE) + PAGE;
    f.sp = make_stack(f.stack + STACK, fiber_main);
  }
}

void run(Fiber& f) {
  current = &f;
  lq_cur = &f.ids;
  lq_switch(&scheduler_sp, f.sp);
  current = nullptr;
}

// Let every lane run to its next simdgroup call, meet there, and so on, until none waits at one.
void run_simdgroup(unsigned s) {
  const unsigned first = s * SIMD, end = first + SIMD < threads ? first + SIMD : threads;
  Simdgroup& sg = simdgroups[s];
  for (;;) {
    for (unsigned k = first; k < end && !dead; k++) {
      Fiber& f = fibers[launch->reversed ? end - 1 - (k - first) : k];
      if (f.state == READY) run(f);
    }
    if (dead) return;
    uint32_t waiting = 0;
    int site = -1;
    const char* others = nullptr;
    Fiber* one = nullptr;
    for (unsigned t = first; t < end; t++) {
      Fiber& f = fibers[t];
      if (f.state == DONE) others = "others have returned";
      else if (f.state == AT_BARRIER) others = "others wait at a threadgroup barrier";
      else {
        waiting |= 1u << (t - first);
        if (site >= 0 && site != f.site) others = "others wait at a different simdgroup call";
        site = f.site;
        one = &f;
      }
    }
    if (!waiting) return;
    if (others) {
      report("divergent simdgroup %u of threadgroup %lu: lanes %08x wait at line %d, %s", s, (unsigned long)group,
             waiting, site / 64, others);
      dead = true;
      return;
    }
    const unsigned turn = sg.turn++ & 1;
    for (unsigned t = first; t < end; t++) {
      fibers[t].turn = turn;
      memcpy(sg.slot[turn] + 32 * (t - first), fibers[t].out, 32);
    }
    sg.active[turn] = waiting;
    if (one->state == AT_SIMD && one->reduce) one->reduce(sg.slot[turn], waiting, sg.reduced[turn]);
    if (one->state == AT_SIMD_BARRIER && one->flags) sg.epoch = ++epoch;
    for (unsigned t = first; t < end; t++) fibers[t].state = READY;
  }
}

// After the simdgroups have run: either all threads returned (true), or all wait at one barrier and go on.
bool barrier() {
  unsigned waiting = 0;
  int site = -1, flags = 0;
  bool mixed = false;
  for (unsigned t = 0; t < threads; t++) {
    Fiber& f = fibers[t];
    if (f.state == DONE) continue;
    waiting++;
    flags = f.flags;
    mixed = mixed || (site >= 0 && site != f.site);
    site = f.site;
  }
  if (!waiting) return true;
  if (waiting < threads || mixed) {
    report("threadgroup_barrier at line %d of threadgroup %lu not reached by all threads: %u wait, %u returned%s",
           site / 64, (unsigned long)group, waiting, threads - waiting, mixed ? ", waiting at different barriers" : "");
    dead = true;
    return true;
  }
  if (flags & 2) threadgroup_epoch = ++epoch;
  if (flags & 1) device_epoch = ++epoch;
  for (unsigned t = 0; t < threads; t++) fibers[t].state = READY;
  return false;
}

void run_launch() {
  const unsigned most = launch->threadgroup[0] * launch->threadgroup[1] * launch->threadgroup[2];
  const size_t bytes = (STACK + PAGE) * most;
  fibers.assign(most, Fiber{});
  simdgroups.assign((most + SIMD - 1) / SIMD, Simdgroup{});
  std::vector<char> memory(ARENA + 64);
  arena = (char*)(((uintptr_t)memory.data() + 63) & ~(uintptr_t)63);
  stacks = (char*)mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  for (unsigned t = 0; t < most; t++) mprotect(stacks + (STACK + PAGE) * t, PAGE, PROT_NONE);  // overflow: a crash
  const uint64_t total = uint64_t(launch->groups[0]) * launch->groups[1] * launch->groups[2];
  for (uint64_t g = 0; g < total && !dead; g++) {
    start_threadgroup(launch->reversed ? total - 1 - g : g);
    do {
      const unsigned n = (threads + SIMD - 1) / SIMD;
      for (unsigned s = 0; s < n && !dead; s++) run_simdgroup(launch->reversed ? n - 1 - s : s);
    } while (!dead && !barrier());
  }
  munmap(stacks, bytes);
}
}  // namespace

extern "C" {
const char* lq_simd_xchg(const void* p, unsigned n, int site, uint32_t* active) {
  lq_simd_reduce(p, n, site, nullptr, nullptr);
  Simdgroup& s = simdgroups[current->ids.simdgroup_index_in_threadgroup];
  *active = s.active[current->turn];
  return s.slot[current->turn];
}
void lq_simd_reduce(const void* p, unsigned n, int site, void (*fn)(const char*, uint32_t, char*), void* out) {
  memcpy(current->out, p, n);
  current->state = AT_SIMD;
  current->site = site;
  current->reduce = fn;
  yield();
  if (fn) memcpy(out, simdgroups[current->ids.simdgroup_index_in_threadgroup].reduced[current->turn], n);
}
static void wait(State state, int flags, int site) {
  current->state = state;
  current->site = site;
  current->flags = flags;
  yield();
}
void lq_tg_barrier(int flags, int site) { wait(AT_BARRIER, flags, site); }
void lq_sg_barrier(int flags, int site) { wait(AT_SIMD_BARRIER, flags, site); }
void* lq_tg_alloc(size_t n, int id) {
  auto known = variables.find(id);
  if (known != variables.end()) return known->second.start;
  const size_t size = (n + 15) / 16 * 16;
  used += size;
  if (used > TG_LIMIT) {
    report("threadgroup memory of %zu bytes exceeds the 32768-byte limit", used);
    die();
  }
  char* p = arena + place;
  variables[id] = {p, n};
  place += 2 * size + 256;
  return p;
}
void lq_fail(const char* message) {
  report("%s: %s", message, where().c_str());
  die();
}

// Of the last checked launch: how often each buffer was read, and how many bytes in all.
void lq_counted(uint64_t* times, uint64_t* bytes) {
  for (size_t i = 0; i < loads.size(); i++) {
    times[i] = loads[i];
    bytes[i] = loaded[i];
  }
}

// Buffers in the order of the signature, with their sizes in bytes and whether they are outputs.
// options: lanes reversed, sum order, subnormals flushed, instrumented. Returns what was found, "" if nothing.
const char* lq_launch(void* const* buffers, const uint64_t* sizes, const int* outputs, int count, const uint32_t* grid,
                      const uint32_t* threadgroup, const int* options) {
  Launch l;
  l.raw = buffers;
  l.reversed = options[0];
  l.checked = options[3];
  lq_sum_order = options[1];
  for (int i = 0; i < count; i++) l.buffers.push_back({(char*)buffers[i], sizes[i], outputs[i] != 0});
  for (int d = 0; d < 3; d++) {
    l.grid[d] = grid[d];
    l.threadgroup[d] = threadgroup[d] < grid[d] ? threadgroup[d] : grid[d];
    l.groups[d] = (grid[d] + l.threadgroup[d] - 1) / l.threadgroup[d];
  }
  findings.clear();
  found = 0;
  dead = false;
  if (uint64_t(l.threadgroup[0]) * l.threadgroup[1] * l.threadgroup[2] > MAX_THREADS) return "over 1024 threads";
  launch = &l;
  start_checks();
#ifdef __x86_64__
  const unsigned control = _mm_getcsr();
  if (options[2]) _mm_setcsr(control | 0x8040);  // Apple GPUs flush subnormal floats
#endif
  run_launch();
#ifdef __x86_64__
  _mm_setcsr(control);
#endif
  if (!dead) finish_checks();
  return findings.c_str();
}
}
#include "instrumented.h"
