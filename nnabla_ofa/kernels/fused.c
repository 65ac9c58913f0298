/* Blocks of fused layers for the channel-major (C, H, W, N) trunk; functions.py is the only caller.
 *
 *   y = relu?(pool?(unit(..unit(x))) + shortcut), the shortcut being skip(x) or an array
 *   unit   BN(pointwise(depthwise(relu?(.)))), elastic in kernel and widths
 *   skip   BN(convolution(.))
 *
 * Between two matrix products all work is a channel's own, so that it is done channel by channel,
 * in cache: normalise and rectify one unit's output, convolve it depthwise for the next, pack it.
 * Only the products' operands are stored. Active channels are a prefix of the full ones, so weights
 * are read, and gradients written, as sub-blocks of the full arrays through their row length. One
 * parallel region a call; channels and tiles are each one thread's: results never depend on timing.
 *
 * A frozen block has fixed statistics: its weights are folded and packed beforehand, its products
 * end in bias, residual and ReLU, and nothing is kept for a backward pass. */
#include <math.h>
#include <stdlib.h>
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#endif
#include "gemm.h"
#include "depthwise.h"
#include "pool.h"

/* Mirrored by functions._Layer and functions._Block; where arrays are not needed: NULL. */
typedef struct {
  long in, out, full_in, full_out, full_depthwise;
  long kernel, full_kernel, stride, steps, relu_in; /* steps: kernel matrices to apply, 0 to 2 */
  /* frozen: the active kernels, the packed weight, none, the bias */
  const float *depthwise, *matrix[2], *weight, *gamma, *beta;
  float *d_depthwise, *d_matrix[2], *d_weight, *d_gamma, *d_beta;
  long add_depthwise, add_matrix[2], add_weight, add_gamma, add_beta; /* else overwrite */
  float *running_mean, *running_variance;
  float *mean, *variance, *inverse, *hidden, *z; /* in the arena: before and after the product */
} layer;

typedef struct {
  long height, width, batch, count; /* of x; of units */
  long pool, relu_out, frozen, add_x, add_residual;
  double eps, decay;
  layer *units, *skip;
  const int *order; /* row j of y is row order[j] of the last unit's; NULL: j */
  const float *x, *residual, *dy; /* the residual may be x; then d_residual is dx */
  float *y, *dx, *d_residual, *arena;
  unsigned char *winner; /* in the arena: each pooled maximum's tap */
} block;

static int threads = 1;
void set_threads(int n) { threads = n; }

/* Each calling thread keeps one grown workspace. It never shrinks: it is a few megabytes. */
static float *workspace(long floats) {
  static _Thread_local float *kept;
  static _Thread_local long size;
  if (floats <= size) return kept;
  free(kept);
  size = round_up(floats, 16); /* whole lines of cache */
  if (!(kept = aligned_alloc(64, sizeof(float) * size))) abort();
  return kept;
}

static long out_size(long size, long stride) { return (size - 1) / stride + 1; }
static long pixels_in(const block *b) { return b->height * b->width * b->batch; }
static long pixels_out(const block *b, const layer *u) {
  return out_size(b->height, u->stride) * out_size(b->width, u->stride) * b->batch;
}
static long channels_out(const block *b) {
  return b->count ? b->units[b->count - 1].out : b->skip->out;
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

static void arrange_layer(const block *b, layer *u, int is_unit, space *s) {
  long n = pixels_out(b, u);
  u->mean = take(s, u->out), u->variance = take(s, u->out);
  u->inverse = take(s, u->out);
  u->z = take(s, u->out * n);
  u->hidden = is_unit ? take(s, u->in * n) : NULL;
}

/* Lays a block's inner arrays out in its arena; the floats that they take. */
long arrange(block *b) {
  space s = {b->arena, 0};
  float *spare[2];
  if (!b->frozen) {
    for (long i = 0; i < b->count; i++) arrange_layer(b, b->units + i, 1, &s);
    if (b->skip) arrange_layer(b, b->skip, 0, &s);
    long winners = b->pool ? channels_out(b) * pixels_out(b, b->skip) : 0;
    b->winner = (unsigned char *)take(&s, parts(winners, sizeof(float)));
    return s.used;
  }
  long widest = 0;
  for (long i = 0; i < b->count; i++) widest = max_of(widest, b->units[i].out);
  for (int i = 0; i < 2; i++) spare[i] = take(&s, widest * pixels_in(b));
  for (long i = 0; i < b->count; i++)
    b->units[i].z = i + 1 == b->count && !b->pool ? b->y : spare[i % 2];
  if (b->skip) b->skip->z = b->y;
  return s.used;
}

/* ---- workspace -------------------------------------------------------------------------- */

enum { COLUMNS = 512 * 1024 }; /* floats of unfolded input at a time */

static long rows_of(const layer *u) { return u->depthwise ? u->in : u->in * u->kernel * u->kernel; }

static long weight_row(const layer *u) { /* floats of the stored weight's */
  return u->depthwise ? u->full_in : u->full_in * u->kernel * u->kernel;
}

/* Rows of output that are unfolded at a time. */
static long strip_of(const block *b, const layer *u) {
  long line = out_size(b->width, u->stride) * b->batch;
  return min_of(max_of(COLUMNS / (rows_of(u) * line), 1), out_size(b->height, u->stride));
}
static long columns_of(const block *b, const layer *u) {
  return round_up(strip_of(b, u) * out_size(b->width, u->stride) * b->batch, TILE_COLUMNS);
}

/* Kernels by size, [0] the largest: kernel[s + 1] (in, k * k) = crop[s] times matrix[s], crop[s]
 * being the centre of kernel[s]. */
typedef struct { float *kernel[3], *crop[2], *gradient[3]; long used; } kernels;

static kernels kernels_in(const layer *u, float *base) {
  space s = {base, 0};
  kernels all = {.kernel = {(float *)u->depthwise}};
  for (int i = 0; i <= u->steps; i++) {
    long k = u->full_kernel - 2 * i, size = u->in * k * k;
    all.gradient[i] = take(&s, size);
    if (i) all.kernel[i] = take(&s, size), all.crop[i - 1] = take(&s, size);
  }
  all.used = s.used;
  return all;
}

/* Where a call works: unfolded columns, packed operands and kernels are the threads' in common;
 * depthwise rows and two planes are each one's own. */
typedef struct {
  long sizes[6], common, own; /* floats of the six below, of the first and the last three */
  float *base;
  float *columns, *product, *kernels, *depthwise, *plane, *out;
} room;

static long take_common(room *r, space s) {
  r->columns = take(&s, r->sizes[0]), r->product = take(&s, r->sizes[1]);
  r->kernels = take(&s, r->sizes[2]);
  return s.used;
}

static long take_own(room *r, space s) {
  r->depthwise = take(&s, r->sizes[3]);
  r->plane = take(&s, r->sizes[4]), r->out = take(&s, r->sizes[5]);
  return s.used;
}

static room room_of(const block *b) {
  room r = {{0}};
#define AT_LEAST(i, floats) r.sizes[i] = max_of(r.sizes[i], floats)
  AT_LEAST(4, pixels_in(b));
  for (long i = 0; i < b->count + (b->skip != NULL); i++) {
    const layer *u = i < b->count ? b->units + i : b->skip;
    long rows = rows_of(u), tallest = max_of(max_of(rows, u->out), TAPS);
    AT_LEAST(0, rows * columns_of(b, u));
    AT_LEAST(1, max_of(packed_size(u->out, rows), gemm_space(tallest, DEPTH)));
    AT_LEAST(4, columns_of(b, u));
    AT_LEAST(5, pixels_out(b, u));
    if (!u->depthwise) continue;
    plane p = plane_of(b->height, b->width, b->batch, u->kernel);
    AT_LEAST(2, kernels_in(u, NULL).used);
    AT_LEAST(3, plane_space(&p));
  }
#undef AT_LEAST
  r.common = take_common(&r, (space){NULL, 0});
  r.own = take_own(&r, (space){NULL, 0});
  r.base = workspace(r.common + threads * r.own);
  take_common(&r, (space){r.base, 0});
  return r;
}

static room own_room(const room *shared) {
  room r = *shared;
  take_own(&r, (space){r.base + r.common + omp_get_thread_num() * r.own, 0});
  return r;
}

/* ---- batch normalization ---------------------------------------------------------------- */

enum { RUN = 512 }; /* float sums of this many terms are gathered in double precision */

/* sum of (a - shift) * b, or of (a - shift)^2 where b is NULL and of a - shift where it is a */
static double centred_sum(const float *a, float shift, const float *b, long n) {
  double total = 0;
  for (long i = 0; i < n; i += RUN) {
    float s = 0;
    long end = min_of(i + RUN, n);
    if (b == a)
#pragma omp simd reduction(+ : s)
      for (long j = i; j < end; j++) s += a[j] - shift;
    else if (b)
#pragma omp simd reduction(+ : s)
      for (long j = i; j < end; j++) s += (a[j] - shift) * b[j];
    else
#pragma omp simd reduction(+ : s)
      for (long j = i; j < end; j++) s += (a[j] - shift) * (a[j] - shift);
    total += s;
  }
  return total;
}

static void statistics(const block *b, const layer *u, long r) {
  long n = pixels_out(b, u);
  const float *z = u->z + r * n;
  float mean = centred_sum(z, 0, z, n) / n;
  double variance = centred_sum(z, mean, NULL, n) / n;
  u->mean[r] = mean, u->variance[r] = variance, u->inverse[r] = 1 / sqrt(variance + b->eps);
  if (!u->running_mean) return;
  double unbiased = variance * n / max_of(n - 1, 1);
  u->running_mean[r] = b->decay * u->running_mean[r] + (1 - b->decay) * mean;
  u->running_variance[r] = b->decay * u->running_variance[r] + (1 - b->decay) * unbiased;
}

/* Channel r of a layer's normalised output, or of x where there is no layer. */
static channel view(const block *b, const layer *u, long r, long rectify) {
  float floor = rectify ? 0 : -INFINITY;
  if (!u) return (channel){b->x + r * pixels_in(b), 0, 1, 0, floor};
  const float *z = u->z + r * pixels_out(b, u);
  if (b->frozen) return (channel){z, 0, 1, 0, floor};
  return (channel){z, u->mean[r], u->gamma[r] * u->inverse[r], u->beta[r], floor};
}

/* Turns channel r of z into its own gradient, given dy; gradients of gamma and beta. */
static void normalize_backward(const block *b, const layer *u, long r, const float *dy) {
  long n = pixels_out(b, u);
  float *z = u->z + r * n, mean = u->mean[r], inverse = u->inverse[r];
  double sum = centred_sum(dy, 0, dy, n), product = centred_sum(z, mean, dy, n);
  if (u->d_gamma) u->d_gamma[r] = product * inverse + (u->add_gamma ? u->d_gamma[r] : 0);
  if (u->d_beta) u->d_beta[r] = sum + (u->add_beta ? u->d_beta[r] : 0);
  float shift = sum / n, slope = product / n * inverse * inverse, scale = u->gamma[r] * inverse;
  for (long i = 0; i < n; i++) z[i] = (dy[i] - shift - (z[i] - mean) * slope) * scale;
}

/* Zeroes a full gradient outside its active [rows, columns]. */
static void zero_outside(float *p, long rows, long columns, long full_rows, long full_columns) {
#pragma omp for schedule(static) nowait
  for (long r = 0; r < full_rows; r++) {
    long from = r < rows ? columns : 0;
    memset(p + r * full_columns + from, 0, sizeof(float) * (full_columns - from));
  }
}

/* ---- elastic depthwise kernels ---------------------------------------------------------- */

/* Copies the centres, k x k, of (k + 2) x (k + 2) kernels, or puts them back with zeros around. */
static void crop_centres(long count, long k, float *larger, float *centre, int back) {
#pragma omp for schedule(static)
  for (long c = 0; c < count; c++) {
    float *from = larger + c * (k + 2) * (k + 2), *to = centre + c * k * k;
    if (back) memset(from, 0, sizeof(float) * (k + 2) * (k + 2));
    for (long y = 0; y < k; y++) {
      float *row = from + (y + 1) * (k + 2) + 1;
      memcpy(back ? row : to + y * k, back ? to + y * k : row, sizeof(float) * k);
    }
  }
}

static void shrink_kernels(const layer *u, const kernels *all, float *space) {
  for (int s = 0; s < u->steps; s++) {
    long k = u->full_kernel - 2 * s - 2, size = k * k;
    crop_centres(u->in, k, all->kernel[s], all->crop[s], 0);
    gemm(u->in, size, size, all->crop[s], size, 1, u->matrix[s], size, 1, all->kernel[s + 1], size,
         0, space);
  }
}

/* From the smallest kernels' gradient to those of the matrices and of the largest kernels. */
static void shrink_kernels_backward(const layer *u, const kernels *all, float *space) {
  for (int s = u->steps - 1; s >= 0; s--) {
    long k = u->full_kernel - 2 * s - 2, size = k * k;
    const float *gradient = all->gradient[s + 1];
    if (u->d_matrix[s])
      gemm(size, size, u->in, all->crop[s], 1, size, gradient, size, 1, u->d_matrix[s], size,
           u->add_matrix[s], space);
    gemm(u->in, size, size, gradient, size, 1, u->matrix[s], 1, size, all->crop[s], size, 0,
         space);
    crop_centres(u->in, k, all->gradient[s], all->crop[s], 1);
  }
}

/* ---- linear parts ----------------------------------------------------------------------- */

/* One row of unfolded columns, that is one channel's inputs under one tap, over output rows
 * [first, last): copied there (im2col), or their gradients added from there (col2im). */
static void unfold_row(const block *b, const layer *u, long row, long first, long last,
                       float *columns, float *image, int back) {
  long k = u->kernel, y = row / k % k - k / 2, x = row % k - k / 2, step = u->stride;
  long out_width = out_size(b->width, step), line = out_width * b->batch;
  /* output columns whose input is inside the image; at stride 1 they are one contiguous run */
  long begin = x < 0, end = min_of(out_width, parts(b->width - x, step));
  long runs = step == 1 ? end > begin : end - begin;
  long size = step == 1 ? (end - begin) * b->batch : b->batch;
  image += row / (k * k) * pixels_in(b);
  for (long r = first; r < last; r++, columns += line) {
    long at = r * step + y;
    int inside = at >= 0 && at < b->height && runs > 0;
    if (!back) memset(columns, 0, sizeof(float) * (inside ? begin * b->batch : line));
    if (!inside) continue;
    for (long i = 0; i < runs; i++) {
      float *pixels = image + (at * b->width + (begin + i) * step + x) * b->batch;
      float *column = columns + (begin + i) * b->batch;
      if (back)
        for (long j = 0; j < size; j++) pixels[j] += column[j];
      else
        for (long j = 0; j < size; j++) column[j] = pixels[j];
    }
    if (!back) memset(columns + end * b->batch, 0, sizeof(float) * (line - end * b->batch));
  }
}


/* `count` floats of row `k` of B into its panels, `rows` high. */
static void scatter(const float *line, long count, long k, long rows, float *panels) {
  for (panels += k * TILE_COLUMNS; count > 0; count -= TILE_COLUMNS) {
    if (count < TILE_COLUMNS) memset(panels, 0, sizeof(float) * TILE_COLUMNS);
    memcpy(panels, line, sizeof(float) * min_of(count, TILE_COLUMNS));
    line += TILE_COLUMNS, panels += rows * TILE_COLUMNS;
  }
}

/* u->z = weight times the unfolded input, which is `before`'s output or x. */
static void linear(const block *b, const layer *u, const layer *before, const room *at) {
  long rows = rows_of(u), size = u->kernel * u->kernel, strip = strip_of(b, u);
  long n = pixels_out(b, u), high = out_size(b->height, u->stride), line = n / high;
  int ends = b->frozen && (u == b->skip ? !b->count : u->z == b->y);
  target t = {NULL, n, 0, ends && b->relu_out, b->frozen ? u->beta : NULL, NULL};
  const float *shortcut = b->skip && u != b->skip ? b->y : b->residual;
  plane p = plane_of(b->height, b->width, b->batch, u->kernel);
  kernels all;
  if (u->depthwise) {
    all = kernels_in(u, at->kernels);
    shrink_kernels(u, &all, at->product);
    memset(at->depthwise, 0, sizeof(float) * plane_space(&p));
  }
  if (!b->frozen) pack_a(u->out, rows, u->weight, weight_row(u), 1, at->product);
  if (before && !b->frozen)
#pragma omp for schedule(static) nowait /* the next loop gives each thread the same channels */
    for (long c = 0; c < u->in; c++) statistics(b, before, c);
  for (long first = 0; first < high; first += strip) {
    long end = min_of(first + strip, high), count = (end - first) * line;
#pragma omp for schedule(static)
    for (long r = 0; r < rows; r++) {
      float *row = u->hidden ? u->hidden + r * n + first * line : at->plane;
      if (u->depthwise)
        depthwise_forward(&p, view(b, before, r, u->relu_in), all.kernel[u->steps] + r * size,
                          first, end, row, at->depthwise);
      else
        unfold_row(b, u, r, first, end, row, (float *)b->x, 0);
      scatter(row, count, r, rows, at->columns);
    }
    t.c = u->z + first * line;
    if (ends && shortcut) t.residual = shortcut + first * line;
    multiply(u->out, count, rows, b->frozen ? u->weight : at->product, at->columns, t);
  }
}

/* The weight's and the inputs' gradients, from that in z. */
static void unit_backward(const block *b, const layer *u, const layer *before, const room *at) {
  long n = pixels_in(b), size = u->kernel * u->kernel, full = u->full_kernel * u->full_kernel;
  plane p = plane_of(b->height, b->width, b->batch, u->kernel);
  kernels all = kernels_in(u, at->kernels);
  if (u->d_weight) {
    if (!u->add_weight) zero_outside(u->d_weight, u->out, u->in, u->full_out, u->full_in);
    gemm(u->out, u->in, n, u->z, n, 1, u->hidden, 1, n, u->d_weight, u->full_in, u->add_weight,
         at->product);
  }
  if (!before && !b->dx && !u->d_depthwise) return;
  /* hidden has been used: its own gradient takes its place */
  gemm(u->in, n, u->out, u->weight, 1, u->full_in, u->z, n, 1, u->hidden, n, 0, at->product);
  shrink_kernels(u, &all, at->product);
  memset(at->depthwise, 0, sizeof(float) * plane_space(&p));
#pragma omp for schedule(static)
  for (long c = 0; c < u->in; c++) {
    float *dx = before ? at->plane : b->dx ? b->dx + c * n : NULL;
    depthwise_backward(&p, view(b, before, c, u->relu_in), all.kernel[u->steps] + c * size,
                       u->hidden + c * n, dx, !before && (b->add_x || b->d_residual == b->dx),
                       u->d_depthwise ? all.gradient[u->steps] + c * size : NULL, at->depthwise);
    if (before) normalize_backward(b, before, c, dx);
  }
  if (!u->d_depthwise) return;
  shrink_kernels_backward(u, &all, at->product);
  if (!u->add_depthwise) zero_outside(u->d_depthwise, 1, u->in * full, 1, u->full_depthwise * full);
#pragma omp for schedule(static)
  for (long i = 0; i < u->in * full; i++)
    u->d_depthwise[i] = all.gradient[0][i] + (u->add_depthwise ? u->d_depthwise[i] : 0);
}

static void convolution_backward(const block *b, const layer *u, const room *at) {
  long size = u->kernel * u->kernel, rows = rows_of(u), strip = strip_of(b, u);
  long n = pixels_out(b, u), high = out_size(b->height, u->stride), line = n / high;
  if (u->d_weight && !u->add_weight)
    zero_outside(u->d_weight, u->out, rows, u->full_out, weight_row(u));
  if (b->dx && !b->add_x && !b->count) zero_outside(b->dx, 0, 0, u->in, pixels_in(b));
  for (long first = 0; first < high; first += strip) {
    long end = min_of(first + strip, high), count = (end - first) * line;
    const float *dz = u->z + first * line;
    if (u->d_weight) {
#pragma omp for schedule(static)
      for (long r = 0; r < rows; r++)
        unfold_row(b, u, r, first, end, at->columns + r * count, (float *)b->x, 0);
      gemm(u->out, rows, count, dz, n, 1, at->columns, 1, count, u->d_weight,
           weight_row(u), first || u->add_weight, at->product);
    }
    if (!b->dx) continue;
    gemm(rows, count, u->out, u->weight, 1, weight_row(u), dz, n, 1, at->columns, count, 0, at->product);
#pragma omp for schedule(static)
    for (long c = 0; c < u->in; c++)
      for (long r = c * size; r < (c + 1) * size; r++)
        unfold_row(b, u, r, first, end, at->columns + r * count, b->dx, 1);
  }
}

/* ---- blocks ----------------------------------------------------------------------------- */

/* y = what is seen of s, + add unless NULL, no less than `floor`. */
static void add_view(channel s, const float *add, long n, float floor, float *y) {
  for (long i = 0; i < n; i++) {
    float value = seen(s, i) + (add ? add[i] : 0);
    y[i] = value < floor ? floor : value;
  }
}

/* y = relu?(pool?(the last unit's normalised output) + shortcut), channel by channel. */
static void finish(const block *b, const room *at) {
  const layer *last = b->count ? b->units + b->count - 1 : NULL, *skip = b->skip;
  long n = pixels_out(b, skip ? skip : last), in = pixels_in(b);
#pragma omp for schedule(static)
  for (long j = 0; j < channels_out(b); j++) {
    long r = b->order ? b->order[j] : j;
    float *y = b->y ? b->y + j * n : at->out;
    const float *add = b->residual ? b->residual + j * n : NULL;
    float floor = b->relu_out ? 0 : -INFINITY;
    if (skip) {
      statistics(b, skip, j);
      add_view(view(b, skip, j, 0), last ? NULL : add, n, last ? -INFINITY : floor, y);
      add = y;
    }
    if (!last) continue;
    statistics(b, last, r);
    channel s = view(b, last, r, 0);
    if (b->pool) {
      add_view(s, NULL, in, -INFINITY, at->plane);
      pool_forward(b->height, b->width, b->batch, at->plane, y, b->winner + j * n);
    } else
      add_view(s, add, n, floor, y);
  }
}

static void finish_backward(const block *b, const room *at) {
  const layer *last = b->count ? b->units + b->count - 1 : NULL, *skip = b->skip;
  long n = pixels_out(b, skip ? skip : last);
  for (long i = 0; i < b->count + (skip != NULL); i++) {
    const layer *u = i < b->count ? b->units + i : skip;
    if (u->d_gamma && !u->add_gamma) zero_outside(u->d_gamma, 1, u->out, 1, u->full_out);
    if (u->d_beta && !u->add_beta) zero_outside(u->d_beta, 1, u->out, 1, u->full_out);
  }
#pragma omp for schedule(static)
  for (long j = 0; j < channels_out(b); j++) {
    const float *dy = b->dy + j * n, *y = b->y + j * n;
    if (b->relu_out) {
      for (long i = 0; i < n; i++) at->out[i] = y[i] > 0 ? dy[i] : 0;
      dy = at->out;
    }
    float *to = b->d_residual + j * n;
    if (b->d_residual)
      for (long i = 0; i < n; i++) to[i] = dy[i] + (b->add_residual ? to[i] : 0);
    if (skip) normalize_backward(b, skip, j, dy);
    if (b->pool) {
      pool_backward(b->height, b->width, b->batch, dy, b->winner + j * n, at->plane);
      dy = at->plane;
    }
    if (last) normalize_backward(b, last, b->order ? b->order[j] : j, dy);
  }
}

/* For Python: whether it mirrors these, how large a packed weight is. */
long lanes(void) { return LANES; }
long layer_size(void) { return sizeof(layer); }
long block_size(void) { return sizeof(block); }
long weight_size(long out, long in) { return packed_size(out, in); }
void pack_weight(long out, long in, const float *weight, float *packed) {
  pack_a(out, in, weight, in, 1, packed);
}

void block_forward(block *b) {
  room shared = room_of(b);
  arrange(b);
#pragma omp parallel num_threads(threads)
  {
    room at = own_room(&shared);
    if (b->skip) linear(b, b->skip, NULL, &at);
    for (long i = 0; i < b->count; i++) linear(b, b->units + i, i ? b->units + i - 1 : NULL, &at);
    if (!b->frozen) finish(b, &at);
    else if (b->pool)
#pragma omp for schedule(static)
      for (long j = 0; j < channels_out(b); j++)
        pool_forward(b->height, b->width, b->batch, b->units[b->count - 1].z + j * pixels_in(b),
                     b->y + j * pixels_out(b, b->skip), NULL);
  }
}

/* Works in place in what the forward pass left in the arena: once only. */
void block_backward(const block *b) {
  room shared = room_of(b);
#pragma omp parallel num_threads(threads)
  {
    room at = own_room(&shared);
    finish_backward(b, &at);
    for (long i = b->count - 1; i >= 0; i--)
      unit_backward(b, b->units + i, i ? b->units + i - 1 : NULL, &at);
    if (b->skip) convolution_backward(b, b->skip, &at);
  }
}

/* ---- at the two ends -------------------------------------------------------------------- */

/* (N, pixels) to (pixels, N). */
void transpose(long images, long pixels, const float *x, float *y) {
#pragma omp parallel for schedule(static) num_threads(threads)
  for (long p = 0; p < pixels; p += LANES) {
    float panel[LANES * LANES + LANES];
    for (long i = 0; i < images; i += LANES) {
      long lines = min_of(images - i, LANES), count = min_of(pixels - p, LANES);
      pack(x + i * pixels + p, pixels, 1, lines, count, LANES, panel);
      for (long k = 0; k < count; k++)
        memcpy(y + (p + k) * images + i, panel + k * LANES, sizeof(float) * lines);
    }
  }
}
