// A launch as a program of its own, which sanitisers can watch: reads the launch from a file, runs it, writes the
// outputs behind it. Buffers are allocated one by one, so that a byte beyond any of them is seen.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <vector>

extern "C" const char* lq_launch(void* const* buffers, const uint64_t* sizes, const int* outputs, int count,
                                 const uint32_t* grid, const uint32_t* threadgroup, const int* options);

static void get(void* to, size_t n, FILE* file) {
  if (fread(to, 1, n, file) != n) exit(3);
}

// FILE: int count, options[4], uint32 grid[3], threadgroup[3]; for every buffer uint64 size, int output, int offset
// from a 256-byte boundary, its bytes.
int main(int, char** arguments) {
  FILE* file = fopen(arguments[1], "rb");
  if (!file) return 3;
  int count, options[4];
  uint32_t grid[3], threadgroup[3];
  get(&count, sizeof count, file);
  get(options, sizeof options, file);
  get(grid, sizeof grid, file);
  get(threadgroup, sizeof threadgroup, file);
  std::vector<void*> buffers;
  std::vector<uint64_t> sizes;
  std::vector<int> outputs;
  for (int i = 0; i < count; i++) {
    uint64_t size;
    int facts[2];
    get(&size, sizeof size, file);
    get(facts, sizeof facts, file);
    void* whole;
    if (posix_memalign(&whole, 256, size + facts[1])) return 3;
    buffers.push_back((char*)whole + facts[1]);
    sizes.push_back(size);
    outputs.push_back(facts[0]);
    get(buffers.back(), size, file);
  }
  fclose(file);
  const char* found = lq_launch(buffers.data(), sizes.data(), outputs.data(), count, grid, threadgroup, options);
  if (*found) {
    fprintf(stderr, "%s", found);
    return 4;
  }
  file = fopen(arguments[2], "wb");
  for (int i = 0; i < count; i++)
    if (outputs[i] && fwrite(buffers[i], 1, sizes[i], file) != sizes[i]) return 3;
  return fclose(file) ? 3 : 0;
}
