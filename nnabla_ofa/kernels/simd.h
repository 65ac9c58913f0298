/* Vectors of the widest registers that the compiler may use, and small helpers. */
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#ifdef _OPENMP
#include <omp.h>
#else
static int omp_get_thread_num(void) { return 0; }
static int omp_get_num_threads(void) { return 1; }
#endif

#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 32")

#if defined(__AVX512F__)
#include "tile_avx512.h"
#elif defined(__AVX2__)
#include "tile_avx2.h"
#else
#include "tile_portable.h"
#endif

typedef float vec __attribute__((vector_size(4 * LANES)));
typedef int ints __attribute__((vector_size(4 * LANES)));
typedef float unaligned __attribute__((vector_size(4 * LANES), aligned(4)));
INLINE vec load(const float *p) { return *(const unaligned *)p; }
INLINE void store(float *p, vec v) { *(unaligned *)p = v; }
/* The first `count` lanes only; the others are zero. */
INLINE vec load_part(const float *p, long count) {
  vec v = {0};
  if (count >= LANES) return load(p);
  if (count <= 0) return v;
  memcpy(&v, p, sizeof(float) * count);
  return v;
}
INLINE void store_part(float *p, vec v, long count) {
  if (count >= LANES) store(p, v);
  else memcpy(p, &v, sizeof(float) * count);
}

static inline long min_of(long a, long b) { return a < b ? a : b; }
static inline long max_of(long a, long b) { return a > b ? a : b; }
static inline long parts(long n, long size) { return (n + size - 1) / size; }
static inline long round_up(long n, long size) { return parts(n, size) * size; }

/* Transposes LANES x LANES values: at step s, blocks of s x s change places. */
INLINE void transpose_block(vec *v) {
#if defined(__clang__) /* has no __builtin_shuffle */
  float from[LANES][LANES];
  for (int i = 0; i < LANES; i++) store(from[i], v[i]);
  for (int i = 0; i < LANES; i++)
    for (int l = 0; l < LANES; l++) v[i][l] = from[l][i];
#else
  UNROLL for (int s = 1; s < LANES; s *= 2) {
    ints low, high;
    UNROLL for (int l = 0; l < LANES; l++) {
      low[l] = l & s ? LANES + l - s : l;
      high[l] = l & s ? LANES + l : l + s;
    }
    UNROLL for (int i = 0; i < LANES; i++)
      if (!(i & s)) {
        vec a = v[i], b = v[i + s];
        v[i] = __builtin_shuffle(a, b, low), v[i + s] = __builtin_shuffle(a, b, high);
      }
  }
#endif
}

/* Lane i: the sum of v[i]'s lanes. */
INLINE vec lane_sums(vec *v) {
  transpose_block(v);
  vec sum = v[0];
  UNROLL for (int i = 1; i < LANES; i++) sum += v[i];
  return sum;
}
