/* Blocks of fused layers for the channel-major (C, H, W, N) trunk. Only layout.py and functions.py
 * call them.
 *
 *   y = relu?(pool?(unit(..unit(x))) + shortcut), the shortcut being skip(x) or an array
 *   unit   BN(pointwise(depthwise(relu?(.)))), elastic in kernel and widths
 *   skip   BN(convolution(.)), which may also stand alone
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
#include <stddef.h>
#include <stdlib.h>
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#endif
#include "gemm.h"
#include "depthwise.h"
#include "pool.h"

/* A layer. layout.LayerStruct has the same fields; `layer_fields`, at the end, lists them for the
 * comparison. An array that is not needed is NULL. Sizes are those of the arrays in layout.Layer.
 *   w_in, w_out                 active channels of input and output, the first of full_in, full_out
 *   full_depthwise              stored channels of the depthwise kernels; 0 of a convolution
 *   kernel, full_kernel         active and stored size of the (depthwise) kernel, odd, in taps
 *   steps                       kernel matrices to apply, 0 to 2
 *   relu_in                     whether the input goes through a ReLU
 *   depthwise .. beta           parameters. Frozen: the active kernels, none, the packed weight, none,
 *                               the bias
 *   d_depthwise .. d_beta       their gradients; add_depthwise .. add_beta: whether the backward pass
 *                               adds to them, else it overwrites them
 *   running_mean, _variance     what the forward pass moves towards the batch's statistics
 * arrange() sets the rest:
 *   rows, full_row              rows of the matrix product's right operand; floats of a weight's row
 *   height, line, pixels        of the output: rows, floats of a row, floats of a channel
 *   strip                       rows of output computed at a time
 *   mean, variance, inverse     the batch's, a channel each; inverse = 1 / sqrt(variance + eps)
 *   hidden, z                   the product's right operand (of a convolution: NULL) and its result
 * The last five lie in the arena, except where the z of a frozen layer is y itself. */
typedef struct {
  long w_in, w_out, full_in, full_out, full_depthwise;
  long kernel, full_kernel, stride, steps, relu_in;
  const float *depthwise, *matrix[2], *weight, *gamma, *beta;
  float *d_depthwise, *d_matrix[2], *d_weight, *d_gamma, *d_beta;
  long add_depthwise, add_matrix[2], add_weight, add_gamma, add_beta;
  float *running_mean, *running_variance;
  long rows, full_row, height, line, pixels, strip;
  float *mean, *variance, *inverse, *hidden, *z;
} layer;

/* A block. layout.BlockStruct has the same fields; `block_fields`, at the end, lists them.
 *   height, width, batch        of x
 *   skip, count                 whether layers[0] is the skip; the number of layers, skip included
 *   pool, relu_out, frozen      whether y is pooled, goes through a ReLU, uses folded constants
 *   add_x, add_residual         whether the backward pass adds to dx and d_residual
 *   eps, decay                  of BN
 *   order                       row j of y is row order[j] of the last unit's; NULL: row j
 *   residual                    what is added to y, shaped as y; it may be x, then d_residual is dx
 *   arena                       the floats that arrange() asked for
 *   winner                      in the arena: which of the inputs each pooled maximum is */
typedef struct {
  long height, width, batch, skip, count;
  long pool, relu_out, frozen, add_x, add_residual;
  double eps, decay;
  layer *layers;
  const int *order;
  const float *x, *residual, *dy;
  float *y, *dx, *d_residual, *arena;
  int *winner;
} block;

static int threads = 1;
void set_threads(int n) { threads = n; }

static long pixels_in(const block *b) { return b->height * b->width * b->batch; }
static const layer *last_of(const block *b) { return b->layers + b->count - 1; }
/* The unit whose output a layer reads, or NULL: x. */
static const layer *before(const block *b, const layer *u) {
  return u > b->layers + b->skip ? u - 1 : NULL;
}
static plane plane_in(const block *b, const layer *u) {
  return plane_of(b->height, b->width, b->batch, u->kernel);
}

/* ---- memory ----------------------------------------------------------------------------- */

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

enum { COLUMNS = 512 * 1024 }; /* floats of a product's packed input at a time */

/* Completes the layers, and lays their arrays out in the block's arena; the floats taken. */
long arrange(block *b) {
  space s = {b->arena, 0};
  for (layer *u = b->layers; u < b->layers + b->count; u++) {
    long taps = u->full_depthwise ? 1 : u->kernel * u->kernel;
    u->rows = u->w_in * taps, u->full_row = u->full_in * taps;
    u->height = (b->height - 1) / u->stride + 1;
    u->line = ((b->width - 1) / u->stride + 1) * b->batch, u->pixels = u->height * u->line;
    u->strip = min_of(max_of(COLUMNS / (u->rows * u->line), 1), u->height);
    if (u->full_depthwise) u->strip = min_of(u->strip, plane_in(b, u).strip);
    int ends = u < b->layers + b->skip || (u == last_of(b) && !b->pool);
    u->z = b->frozen && ends ? b->y : take(&s, u->w_out * u->pixels);
    if (b->frozen) continue;
    u->mean = take(&s, u->w_out), u->variance = take(&s, u->w_out), u->inverse = take(&s, u->w_out);
    u->hidden = u->full_depthwise ? take(&s, u->w_in * u->pixels) : NULL;
  }
  long pooled = b->pool ? b->layers->w_out * b->layers->pixels : 0; /* beside a skip, of its size */
  b->winner = b->frozen ? NULL : (int *)take(&s, pooled);
  return s.used;
}

/* Where a layer is computed, in the workspace: the threads have all but the last line in common.
 * Kernels are by size, [0] the largest, which lie elsewhere: kernel[s] (in, k * k) = crop[s] times
 * matrix[s - 1], crop[s] being the centre of kernel[s - 1]. */
typedef struct {
  float *columns, *product; /* a strip of input, unfolded or packed; other operands */
  float *kernel[3], *crop[3], *gradient[3];
  float *depthwise, *plane;
  long used;
} room;

static room room_of(const block *b, const layer *u, float *base, int thread) {
  space s = {base, 0};
  room r = {.kernel = {(float *)u->depthwise}, .gradient = {u->d_depthwise}};
  plane p = plane_in(b, u);
  long tallest = max_of(max_of(u->rows, u->w_out), TAPS);
  r.columns = take(&s, u->rows * round_up(u->strip * u->line, TILE_COLUMNS));
  r.product = take(&s, max_of(packed_size(u->w_out, u->rows), gemm_space(1, tallest, DEPTH)));
  for (int i = 1; i <= u->steps; i++) {
    long k = u->full_kernel - 2 * i, size = u->w_in * k * k;
    r.kernel[i] = take(&s, size), r.crop[i] = take(&s, size), r.gradient[i] = take(&s, size);
  }
  for (int i = 0; i <= thread; i++) {
    r.depthwise = take(&s, u->full_depthwise ? plane_space(&p) : 0);
    r.plane = take(&s, pixels_in(b));
  }
  r.used = s.used;
  return r;
}

/* A workspace that holds every layer's room, one at a time. */
static float *working_space(const block *b) {
  long floats = 0;
  for (long i = 0; i < b->count; i++)
    floats = max_of(floats, room_of(b, b->layers + i, NULL, threads - 1).used);
  return workspace(floats);
}

/* ---- batch normalization ---------------------------------------------------------------- */

enum { RUN = 512 }; /* float sums of this many terms are gathered in double precision */

typedef struct { double plain, product; } sums;

/* Sums of b and of (a - shift) * b; where it is NULL, b is a - shift. */
static sums sums_of(const float *a, float shift, const float *b, long n) {
  sums total = {0, 0};
  for (long i = 0; i < n; i += RUN) {
    float plain = 0, product = 0;
    long end = min_of(i + RUN, n);
    if (b)
#pragma omp simd reduction(+ : plain, product)
      for (long j = i; j < end; j++) plain += b[j], product += (a[j] - shift) * b[j];
    else
#pragma omp simd reduction(+ : plain, product)
      for (long j = i; j < end; j++)
        plain += a[j] - shift, product += (a[j] - shift) * (a[j] - shift);
    total.plain += plain, total.product += product;
  }
  return total;
}

static void statistics(const block *b, const layer *u, long r) {
  long n = u->pixels;
  const float *z = u->z + r * n;
  float mean = sums_of(z, 0, NULL, n).plain / n;
  double variance = sums_of(z, mean, NULL, n).product / n;
  u->mean[r] = mean, u->variance[r] = variance, u->inverse[r] = 1 / sqrt(variance + b->eps);
  if (!u->running_mean) return;
  double unbiased = variance * n / max_of(n - 1, 1);
  u->running_mean[r] = b->decay * u->running_mean[r] + (1 - b->decay) * mean;
  u->running_variance[r] = b->decay * u->running_variance[r] + (1 - b->decay) * unbiased;
}

/* Channel r of a layer's normalised output, or of x where there is no layer. */
static channel view(const block *b, const layer *u, long r, long rectify) {
  float floor = rectify ? 0 : -INFINITY;
  const float *z = u ? u->z + r * u->pixels : b->x + r * pixels_in(b);
  if (!u || b->frozen) return (channel){z, 0, 1, 0, floor};
  return (channel){z, u->mean[r], u->gamma[r] * u->inverse[r], u->beta[r], floor};
}

/* Turns channel r of z into its own gradient, given dy; gradients of gamma and beta. */
static void normalize_backward(const layer *u, long r, const float *dy) {
  long n = u->pixels;
  float *z = u->z + r * n, mean = u->mean[r], inverse = u->inverse[r];
  sums s = sums_of(z, mean, dy, n);
  if (u->d_gamma) u->d_gamma[r] = s.product * inverse + (u->add_gamma ? u->d_gamma[r] : 0);
  if (u->d_beta) u->d_beta[r] = s.plain + (u->add_beta ? u->d_beta[r] : 0);
  float shift = s.plain / n, slope = s.product / n * inverse * inverse;
  float scale = u->gamma[r] * inverse;
  for (long i = 0; i < n; i++) z[i] = (dy[i] - shift - (z[i] - mean) * slope) * scale;
}

/* ---- elastic depthwise kernels ---------------------------------------------------------- */

/* Copies the centres, k x k, of (k + 2) x (k + 2) kernels, or (+)= puts them back there. */
static void crop_centres(long count, long k, float *larger, float *centre, int back, int add) {
#pragma omp for schedule(static)
  for (long c = 0; c < count; c++) {
    float *from = larger + c * (k + 2) * (k + 2) + k + 3, *to = centre + c * k * k;
    if (back && !add) memset(from - k - 3, 0, sizeof(float) * (k + 2) * (k + 2));
    for (long y = 0; y < k; y++)
      for (long x = 0; x < k; x++)
        if (back) from[y * (k + 2) + x] += to[y * k + x];
        else to[y * k + x] = from[y * (k + 2) + x];
  }
}

static void shrink_kernels(const layer *u, const room *at) {
  for (int s = 1; s <= u->steps; s++) {
    long k = u->full_kernel - 2 * s, size = k * k;
    crop_centres(u->w_in, k, at->kernel[s - 1], at->crop[s], 0, 0);
    gemm(1, u->w_in, size, size, (operand){at->crop[s], size, 1}, (operand){u->matrix[s - 1], 1, size},
         (target){at->kernel[s], size}, at->product);
  }
}

/* From the smallest kernels' gradient to those of the matrices and of the largest kernels. */
static void shrink_kernels_backward(const layer *u, const room *at) {
  for (int s = u->steps; s > 0; s--) {
    long k = u->full_kernel - 2 * s, size = k * k;
    const float *gradient = at->gradient[s];
    if (u->d_matrix[s - 1])
      gemm(1, size, size, u->w_in, (operand){at->crop[s], 1, size}, (operand){gradient, 1, size},
           (target){u->d_matrix[s - 1], size, u->add_matrix[s - 1]}, at->product);
    gemm(1, u->w_in, size, size, (operand){gradient, size, 1}, (operand){u->matrix[s - 1], size, 1},
         (target){at->crop[s], size}, at->product);
    crop_centres(u->w_in, k, at->gradient[s - 1], at->crop[s], 1, s == 1 && u->add_depthwise);
  }
}

/* ---- layers ----------------------------------------------------------------------------- */

/* One row of unfolded columns, that is one channel's inputs under one tap, over output rows
 * [first, last): copied there (im2col), or their gradients added from there (col2im). */
static void unfold_row(const block *b, const layer *u, long row, long first, long last,
                       float *columns, float *image, int back) {
  long k = u->kernel, y = row / k % k - k / 2, x = row % k - k / 2, step = u->stride;
  /* output columns whose input is inside the image; at stride 1 they are one contiguous run */
  long begin = x < 0, end = min_of(u->line / b->batch, parts(b->width - x, step));
  long runs = step == 1 ? end > begin : end - begin;
  long size = step == 1 ? (end - begin) * b->batch : b->batch;
  image += row / (k * k) * pixels_in(b);
  for (long r = first; r < last; r++, columns += u->line) {
    long at = r * step + y;
    int inside = at >= 0 && at < b->height && runs > 0;
    if (!back) memset(columns, 0, sizeof(float) * (inside ? begin * b->batch : u->line));
    if (!inside) continue;
    for (long i = 0; i < runs; i++) {
      float *pixels = image + (at * b->width + (begin + i) * step + x) * b->batch;
      float *column = columns + (begin + i) * b->batch;
      if (back)
        for (long j = 0; j < size; j++) pixels[j] += column[j];
      else
        for (long j = 0; j < size; j++) column[j] = pixels[j];
    }
    if (!back) memset(columns + end * b->batch, 0, sizeof(float) * (u->line - end * b->batch));
  }
}

/* `count` floats of row `k` of B into its panels, `rows` high. */
static void scatter(const float *line, long count, long k, long rows, float *panels) {
  for (panels += k * TILE_COLUMNS; count >= TILE_COLUMNS; count -= TILE_COLUMNS) {
    vec a = load(line), b = load(line + LANES);
    store(panels, a), store(panels + LANES, b);
    line += TILE_COLUMNS, panels += rows * TILE_COLUMNS;
  }
  if (count)
    store(panels, load_part(line, count)), store(panels + LANES, load_part(line + LANES, count - LANES));
}

/* z = the weight times the input's channels, convolved depthwise or unfolded. */
static void layer_forward(const block *b, const layer *u, float *base) {
  room at = room_of(b, u, base, omp_get_thread_num());
  const layer *from = before(b, u);
  plane p = plane_in(b, u);
  target t = {.stride = u->pixels, .bias = b->frozen ? u->beta : NULL};
  const float *shortcut = NULL, *kernels = at.kernel[u->steps];
  if (b->frozen && u == last_of(b) && !b->pool) {
    t.relu = b->relu_out;
    shortcut = b->skip && b->count > 1 ? b->y : b->residual;
  }
  shrink_kernels(u, &at);
  if (u->depthwise) memset(at.depthwise, 0, sizeof(float) * plane_space(&p));
  if (!b->frozen) pack_a(1, u->w_out, u->rows, (operand){u->weight, u->full_row, 1}, at.product);
  if (from && !b->frozen)
#pragma omp for schedule(static) nowait /* the next loop gives each thread the same channels */
    for (long c = 0; c < u->w_in; c++) statistics(b, from, c);
  for (long first = 0; first < u->height; first += u->strip) {
    long end = min_of(first + u->strip, u->height), count = (end - first) * u->line;
#pragma omp for schedule(static)
    for (long r = 0; r < u->rows; r++) {
      float *row = u->hidden ? u->hidden + r * u->pixels + first * u->line : at.plane;
      if (u->depthwise)
        depthwise_forward(&p, view(b, from, r, u->relu_in), kernels + r * u->kernel * u->kernel,
                          first, end, row, at.depthwise);
      else
        unfold_row(b, u, r, first, end, row, (float *)b->x, 0);
      scatter(row, count, r, u->rows, at.columns);
    }
    t.c = u->z + first * u->line;
    if (shortcut) t.residual = shortcut + first * u->line;
    multiply(1, u->w_out, count, u->rows, b->frozen ? u->weight : at.product, at.columns, t);
  }
}

/* A unit's gradients, from that in hidden, up to and into the z of the unit before or dx. */
static void depthwise_gradients(const block *b, const layer *u, const room *at) {
  const layer *from = before(b, u);
  long n = u->pixels, size = u->kernel * u->kernel;
  int add_x = !from && (b->add_x || b->d_residual == b->dx);
  float *gradient = u->d_depthwise ? at->gradient[u->steps] : NULL;
  plane p = plane_in(b, u);
  shrink_kernels(u, at);
  memset(at->depthwise, 0, sizeof(float) * plane_space(&p));
#pragma omp for schedule(static)
  for (long c = 0; c < u->w_in; c++) {
    float *dx = from ? at->plane : b->dx ? b->dx + c * n : NULL;
    depthwise_backward(&p, view(b, from, c, u->relu_in), at->kernel[u->steps] + c * size,
                       u->hidden + c * n, dx, add_x, gradient ? gradient + c * size : NULL,
                       !u->steps && u->add_depthwise, at->depthwise);
    if (from) normalize_backward(from, c, dx);
  }
  if (gradient) shrink_kernels_backward(u, at);
}

/* The weight's and the inputs' gradients, from that in z. */
static void layer_backward(const block *b, const layer *u, float *base) {
  room at = room_of(b, u, base, omp_get_thread_num());
  long taps = u->kernel * u->kernel, strip = u->hidden ? u->height : u->strip;
  float *columns = u->hidden ? u->hidden : at.columns;
  for (long first = 0; first < u->height; first += strip) {
    long end = min_of(first + strip, u->height), count = (end - first) * u->line;
    const float *dz = u->z + first * u->line;
    if (u->d_weight && !u->hidden)
#pragma omp for schedule(static)
      for (long r = 0; r < u->rows; r++)
        unfold_row(b, u, r, first, end, columns + r * count, (float *)b->x, 0);
    if (u->d_weight)
      gemm(1, u->w_out, u->rows, count, (operand){dz, u->pixels, 1}, (operand){columns, count, 1},
           (target){u->d_weight, u->full_row, first || u->add_weight}, at.product);
    if (!before(b, u) && !b->dx && !u->d_depthwise) continue;
    /* the columns have been used: their own gradient takes their place */
    gemm(1, u->rows, count, u->w_out, (operand){u->weight, 1, u->full_row},
         (operand){dz, 1, u->pixels}, (target){columns, count}, at.product);
    if (u->hidden) depthwise_gradients(b, u, &at);
    else
#pragma omp for schedule(static)
      for (long c = 0; c < u->w_in; c++)
        for (long r = c * taps; r < (c + 1) * taps; r++)
          unfold_row(b, u, r, first, end, columns + r * count, b->dx, 1);
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

/* y = relu?(pool?(the last layer's normalised output) + shortcut), channel by channel. Frozen
 * products have done all of that but pool. */
static void finish(const block *b) {
  const layer *last = last_of(b), *skip = b->skip && b->count > 1 ? b->layers : NULL;
  long n = (skip ? skip : last)->pixels;
#pragma omp for schedule(static)
  for (long j = 0; j < last->w_out; j++) {
    long r = b->order ? b->order[j] : j;
    float *y = b->y + j * n;
    const float *add = skip ? y : b->residual ? b->residual + j * n : NULL;
    if (!b->frozen) statistics(b, last, r);
    if (skip && !b->frozen) {
      statistics(b, skip, j);
      add_view(view(b, skip, j, 0), NULL, n, -INFINITY, y);
    }
    channel s = view(b, last, r, 0);
    if (b->pool) pool(b->height, b->width, b->batch, s, y, b->winner ? b->winner + j * n : NULL);
    else add_view(s, add, n, b->relu_out ? 0 : -INFINITY, y);
  }
}

static void finish_backward(const block *b, float *base) {
  const layer *last = last_of(b), *skip = b->skip && b->count > 1 ? b->layers : NULL;
  float *plane = room_of(b, last, base, omp_get_thread_num()).plane;
  long n = (skip ? skip : last)->pixels;
#pragma omp for schedule(static)
  for (long j = 0; j < last->w_out; j++) {
    long r = b->order ? b->order[j] : j;
    const float *dy = b->dy + j * n, *y = b->y + j * n;
    if (b->relu_out) {
      for (long i = 0; i < n; i++) plane[i] = y[i] > 0 ? dy[i] : 0;
      dy = plane;
    }
    float *to = b->d_residual + j * n;
    if (b->d_residual)
      for (long i = 0; i < n; i++) to[i] = dy[i] + (b->add_residual ? to[i] : 0);
    if (skip) normalize_backward(skip, j, dy);
    if (b->pool) {
      memset(plane, 0, sizeof(float) * last->pixels);
      for (long i = 0; i < n; i++) plane[b->winner[j * n + i]] += dy[i];
      dy = plane;
    }
    normalize_backward(last, r, dy);
  }
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

static void zero_inactive_gradients(const block *b) {
  for (const layer *u = b->layers; u <= last_of(b); u++) {
    long taps = u->full_kernel * u->full_kernel;
    zero_outside(u->d_weight, u->add_weight, u->w_out, u->rows, u->full_out, u->full_row);
    zero_outside(u->d_depthwise, u->add_depthwise, u->w_in, taps, u->full_depthwise, taps);
    zero_outside(u->d_gamma, u->add_gamma, u->w_out, 1, u->full_out, 1);
    zero_outside(u->d_beta, u->add_beta, u->w_out, 1, u->full_out, 1);
  }
  if (b->skip && b->count == 1) /* a convolution adds to dx */
    zero_outside(b->dx, b->add_x, 0, 0, b->layers->w_in, pixels_in(b));
}

void block_forward(block *b) {
  arrange(b);
  float *base = working_space(b);
#pragma omp parallel num_threads(threads)
  {
    for (const layer *u = b->layers; u <= last_of(b); u++) layer_forward(b, u, base);
    if (!b->frozen || b->pool) finish(b);
  }
}

/* Works in place in what the forward pass left in the arena: once only. */
void block_backward(const block *b) {
  float *base = working_space(b);
#pragma omp parallel num_threads(threads)
  {
    zero_inactive_gradients(b);
    finish_backward(b, base);
    for (const layer *u = last_of(b); u >= b->layers; u--) layer_backward(b, u, base);
  }
}

/* ---- layers outside blocks -------------------------------------------------------------- */

enum { PIECE = 4096 }; /* floats of a thread's turn in a function of single values */

#include "activations.h"
#include "convolution.h"
#include "normalization.h"
#include "windows.h"
#include "affine.h"
#include "channels.h"
#include "depthwise_layer.h"

/* ---- for Python ------------------------------------------------------------------------- */

/* Floats of a vector register as the library was compiled. */
long lanes(void) { return LANES; }

/* The structures' fields as they lie in memory: name, bytes from the start, bytes. The tests compare
 * them with Python's. A name of NULL ends a table. A field that is missing here leaves a gap, which
 * the tests find, too. */
typedef struct { const char *name; long offset, size; } field;
#define FIELD(owner, name) {#name, offsetof(owner, name), sizeof(((owner *)0)->name)}
#define L(name) FIELD(layer, name)
#define B(name) FIELD(block, name)
const field layer_fields[] = {
  L(w_in), L(w_out), L(full_in), L(full_out), L(full_depthwise),
  L(kernel), L(full_kernel), L(stride), L(steps), L(relu_in),
  L(depthwise), L(matrix), L(weight), L(gamma), L(beta),
  L(d_depthwise), L(d_matrix), L(d_weight), L(d_gamma), L(d_beta),
  L(add_depthwise), L(add_matrix), L(add_weight), L(add_gamma), L(add_beta),
  L(running_mean), L(running_variance),
  L(rows), L(full_row), L(height), L(line), L(pixels), L(strip),
  L(mean), L(variance), L(inverse), L(hidden), L(z), {NULL, sizeof(layer), 0}};
const field block_fields[] = {
  B(height), B(width), B(batch), B(skip), B(count),
  B(pool), B(relu_out), B(frozen), B(add_x), B(add_residual), B(eps), B(decay),
  B(layers), B(order), B(x), B(residual), B(dy), B(y), B(dx), B(d_residual), B(arena), B(winner),
  {NULL, sizeof(block), 0}};
#undef L
#undef B
#define C(name) FIELD(convolution, name)
#define N(name) FIELD(normalization, name)
#define P(name) FIELD(pooling, name)
const field convolution_fields[] = {
  C(height), C(width), C(batch), C(groups), C(w_in), C(w_out), C(full_in), C(full_out), C(kernel),
  C(stride), C(pad), C(activation), C(add_x), C(add_weight), C(add_bias), C(x), C(weight), C(bias),
  C(packed), C(residual), C(dy), C(y), C(dx), C(d_weight), C(d_bias), C(out_height), C(out_width),
  {NULL, sizeof(convolution), 0}};
const field normalization_fields[] = {
  N(channels), N(full), N(pixels), N(fixed), N(activation), N(add_z), N(add_residual), N(add_gamma),
  N(add_beta), N(eps), N(decay), N(z), N(gamma), N(beta), N(residual), N(mean), N(variance),
  N(running_mean), N(running_variance), N(dy), N(y), N(dz), N(d_residual), N(d_gamma), N(d_beta),
  {NULL, sizeof(normalization), 0}};
const field pooling_fields[] = {
  P(channels), P(height), P(width), P(batch), P(kernel), P(stride), P(pad), P(mean), P(out_height),
  P(out_width), P(add), P(x), P(dy), P(y), P(dx), {NULL, sizeof(pooling), 0}};
#undef C
#undef N
#undef P

/* Floats of a packed weight (out, in), and the packing itself: pack_a() of gemm.h. */
long weight_size(long out, long in) { return packed_size(out, in); }
void pack_weight(long out, long in, const float *weight, float *packed) {
  pack_a(1, out, in, (operand){weight, in, 1}, packed);
}

/* (N, pixels) to (pixels, N), a line of cache of each image at a time. */
void transpose(long images, long pixels, const float *x, float *y) {
#pragma omp parallel for schedule(static) num_threads(threads)
  for (long p = 0; p < pixels; p += 16)
    for (long i = 0; i < images; i++)
      for (long k = p; k < min_of(p + 16, pixels); k++) y[k * images + i] = x[i * pixels + k];
}
