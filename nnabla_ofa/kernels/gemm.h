/* Single-precision matrix products on sub-blocks, one or several of a size at a time.
 *
 * Products are called by every thread of a parallel region (their `omp for` loops are orphaned),
 * and end with a barrier. Each element is summed in an order that depends on its own index alone,
 * never on timing or on the number of threads: same inputs, same bits. */

enum {
  TILE_COLUMNS = 2 * LANES,
  DEPTH = 768,           /* longest run of k that is packed at a time */
  GROUP = 4096,          /* floats of a group of panels of B, in L1 */
  PACKED_B = 256 * 1024  /* floats of B packed at a time */
};

/* This thread's share of a grid of tiles, cut along the side that balances better. */
typedef struct { long row, row_end, column, column_end; } share;
static share share_of(long rows, long columns) {
  long threads = omp_get_num_threads(), me = omp_get_thread_num();
  if (parts(rows, threads) * columns < parts(columns, threads) * rows)
    return (share){rows * me / threads, rows * (me + 1) / threads, 0, columns};
  return (share){0, rows, columns * me / threads, columns * (me + 1) / threads};
}

/* A panel [k][width] of a matrix whose value (line, k) is p[line * stride + k * k_stride], one of
 * the strides being 1. Lines beyond `lines` are zero. May write LANES floats past the panel. */
INLINE void pack(const float *p, long stride, long k_stride, long lines, long depth,
                 const long width, float *out) {
  long k = 0;
  if (stride == 1 && lines >= width) {
    for (; k < depth; k++) __builtin_memcpy(out + k * width, p + k * k_stride, sizeof(float) * width);
    return;
  }
  if (k_stride == 1)
    for (; k + LANES <= depth; k += LANES)
      for (long first = 0; first < width; first += LANES) {
        vec v[LANES];
        UNROLL for (int i = 0; i < LANES; i++)
          v[i] = first + i < lines ? load(p + (first + i) * stride + k) : (vec){0};
        transpose_block(v);
        UNROLL for (int i = 0; i < LANES; i++) store(out + (k + i) * width + first, v[i]);
      }
  for (; k < depth; k++)
    for (long i = 0; i < width; i++)
      out[k * width + i] = i < lines ? p[i * stride + k * k_stride] : 0;
}

/* Where a product goes: C (+)= it, then + bias of the row, + residual, ReLU where asked for. Of several
 * products, `plane` lies between one C and the next, `m` biases between one bias and the next. */
typedef struct {
  float *c;
  long stride; /* of C and of the residual */
  int add, relu;
  const float *bias, *residual; /* or NULL */
  long plane;
} target;

/* Value (line, k) of a product's operand: p[line * line_stride + k * k_stride], of product i plus
 * i * plane; one of the strides must be 1. Lines are rows of A, columns of B. */
typedef struct { const float *p; long line, k, plane; } operand;

/* Writes the sums of `count` columns of a row, `at` in C. */
INLINE void finish_sums(const target *t, long row, long at, vec v, long count) {
  if (t->add) v += load_part(t->c + at, count);
  if (t->bias) v += t->bias[row];
  if (t->residual) v += load_part(t->residual + at, count);
  if (t->relu) v = (vec)((ints)v & ~(v < 0)); /* NaN goes through */
  store_part(t->c + at, v, count);
}

static __attribute__((noinline)) void tile(long depth, const float *a, const float *b, const target *t,
                                           long row, long column, long rows, long columns) {
  vec sum[TILE_ROWS][2];
  long at = row * t->stride + column;
  UNROLL for (int r = 0; r < TILE_ROWS; r++) sum[r][0] = sum[r][1] = (vec){0};
  for (; depth--; a += TILE_ROWS, b += TILE_COLUMNS) {
    vec b0 = load(b), b1 = load(b + LANES);
    UNROLL for (int r = 0; r < TILE_ROWS; r++) sum[r][0] += a[r] * b0, sum[r][1] += a[r] * b1;
  }
  if (rows >= TILE_ROWS && columns >= TILE_COLUMNS) {
    UNROLL for (int r = 0; r < TILE_ROWS; r++, at += t->stride) {
      finish_sums(t, row + r, at, sum[r][0], LANES);
      finish_sums(t, row + r, at + LANES, sum[r][1], LANES);
    }
    return;
  }
  float sums[TILE_ROWS][TILE_COLUMNS]; /* to be indexed at run time, as registers cannot be */
  UNROLL for (int r = 0; r < TILE_ROWS; r++)
    store(sums[r], sum[r][0]), store(sums[r] + LANES, sum[r][1]);
  for (long r = 0; r < min_of(rows, TILE_ROWS); r++, at += t->stride)
    for (long j = 0; j < min_of(columns, TILE_COLUMNS); j += LANES)
      finish_sums(t, row + r, at + j, load(sums[r] + j), columns - j);
}

/* Floats of a packed panel of A, and of all of them. */
static long panel_size(long k) { return TILE_ROWS * k + LANES; }
static long packed_size(long m, long k) { return parts(m, TILE_ROWS) * panel_size(k); }
/* Floats of all packed panels of B. */
static long columns_size(long n, long k) { return round_up(n, TILE_COLUMNS) * k; }

/* All m x k values of `count` operands as panels. */
static void pack_a(long count, long m, long k, operand a, float *packed) {
  long panels = parts(m, TILE_ROWS);
#pragma omp for schedule(static)
  for (long i = 0; i < count * panels; i++) {
    long row = i % panels * TILE_ROWS;
    pack(a.p + i / panels * a.plane + row * a.line, a.line, a.k, m - row, k, TILE_ROWS,
         packed + i * panel_size(k));
  }
}

/* Part of one product of packed matrices; panels of B are [k][TILE_COLUMNS]. A run of RUN_DEPTH of k at a
 * time: that of a panel of B stays in L1, that of A's rows in L2. Several short panels make a group, so that
 * C is written in long runs: its rows are far apart, and share sets of the cache. */
static void multiply_share(share s, long m, long n, long k, const float *packed_a,
                           const float *packed_b, target t) {
  long run = parts(k, parts(k, RUN_DEPTH)), rows = max_of(PACKED_A / (TILE_ROWS * run), 1);
  long wide = max_of(GROUP / (TILE_COLUMNS * run), 1);
  for (long k0 = 0; k0 < k; k0 += run) {
    long depth = min_of(run, k - k0);
    target part = {t.c, t.stride, t.add || k0, 0, NULL, NULL, t.plane};
    if (k0 + depth == k) part.relu = t.relu, part.bias = t.bias, part.residual = t.residual;
    for (long block = s.row; block < s.row_end; block += rows)
      for (long first = s.column; first < s.column_end; first += wide)
        for (long i = block; i < min_of(block + rows, s.row_end); i++)
          for (long j = first; j < min_of(first + wide, s.column_end); j++) {
            long r = i * TILE_ROWS, q = j * TILE_COLUMNS;
            tile(depth, packed_a + i * panel_size(k) + k0 * TILE_ROWS,
                 packed_b + q * k + k0 * TILE_COLUMNS, &part, r, q, m - r, n - q);
          }
  }
}

/* `count` products of packed matrices. Several are one row of panels that the threads cut in equal parts. */
static void multiply(long count, long m, long n, long k, const float *packed_a,
                     const float *packed_b, target t) {
  long rows = parts(m, TILE_ROWS), columns = parts(n, TILE_COLUMNS);
  if (count == 1) multiply_share(share_of(rows, columns), m, n, k, packed_a, packed_b, t);
  else {
    share all = share_of(1, count * columns);
    for (long i = all.column / columns; i < parts(all.column_end, columns); i++) {
      share own = {0, rows, max_of(all.column - i * columns, 0),
                   min_of(all.column_end - i * columns, columns)};
      target to = t;
      to.c += i * t.plane;
      if (t.bias) to.bias += i * m;
      if (t.residual) to.residual += i * t.plane;
      multiply_share(own, m, n, k, packed_a + i * packed_size(m, k),
                     packed_b + i * columns_size(n, k), to);
    }
  }
#pragma omp barrier
}

/* Floats of workspace that gemm() needs, where m is the larger of its m, and so is k. */
static long gemm_space(long count, long m, long k) {
  return count * (packed_size(m, min_of(k, DEPTH)) + (TILE_COLUMNS + 1) * DEPTH) + PACKED_B;
}

/* C[m][n] (+)= sum over k of A[m][k] B[k][n], `count` times; t.add, t.c, t.stride, t.plane are used. */
static void gemm(long count, long m, long n, long k, operand a, operand b, target t, float *space) {
  long depth = parts(k, parts(k, DEPTH));
  long wide = max_of(PACKED_B / count / depth / TILE_COLUMNS, 1) * TILE_COLUMNS;
  float *packed_b = space + count * packed_size(m, depth);
  for (long k0 = 0; k0 < k; k0 += depth, t.add = 1) {
    long d = min_of(depth, k - k0);
    operand part = a;
    part.p += k0 * a.k;
    pack_a(count, m, d, part, space);
    for (long n0 = 0; n0 < n; n0 += wide) {
      long width = min_of(wide, n - n0), panels = parts(width, TILE_COLUMNS);
#pragma omp for schedule(static)
      for (long i = 0; i < count * panels; i++) {
        long q = i % panels * TILE_COLUMNS;
        pack(b.p + i / panels * b.plane + k0 * b.k + (n0 + q) * b.line, b.line, b.k, width - q, d,
             TILE_COLUMNS, packed_b + i * TILE_COLUMNS * d);
      }
      target to = t;
      to.c += n0;
      multiply(count, m, width, d, space, packed_b, to);
    }
  }
}
