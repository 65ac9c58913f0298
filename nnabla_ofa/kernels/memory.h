/* Workspaces, and the number of threads. */
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#endif

static int threads = 1;
void set_threads(int n) { threads = n; }

/* Each calling thread keeps one grown workspace. It never shrinks: it is a few megabytes. */
static float *workspace(long floats) {
  static _Thread_local float *kept;
  static _Thread_local long size;
  if (floats > size) {
    free(kept);
    size = round_up(floats, 16); /* whole lines of cache */
    if (!(kept = aligned_alloc(64, sizeof(float) * size))) abort();
  }
#ifdef __SANITIZE_ADDRESS__
  ASAN_UNPOISON_MEMORY_REGION(kept, sizeof(float) * size);
#endif
  return kept;
}

/* A space that is taken part by part; with a base of NULL it is only measured. */
typedef struct { float *base; long used; } space;

/* The sanitizer is told of each part's exact size, and of a gap behind it. */
static float *take(space *s, long floats) {
  float *taken = s->base ? s->base + s->used : NULL;
  s->used += round_up(floats, LANES);
#ifdef __SANITIZE_ADDRESS__
  s->used += LANES;
  if (taken) {
    ASAN_UNPOISON_MEMORY_REGION(taken, sizeof(float) * floats);
    ASAN_POISON_MEMORY_REGION(taken + floats, sizeof(float) * (s->base + s->used - taken - floats));
  }
#endif
  return taken;
}

/* Zeroes a gradient outside its active [rows, columns], unless it is none or added to. */
static void zero_outside(float *p, long add, long rows, long columns, long full_rows,
                         long full_columns) {
  if (!p || add) return;
#pragma omp for schedule(static) nowait
  for (long r = 0; r < full_rows; r++) {
    long from = r < rows ? columns : 0;
    memset(p + r * full_columns + from, 0, sizeof(float) * (full_columns - from));
  }
}
