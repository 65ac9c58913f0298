/* Fused layers of the channel-major (C, H, W, N) trunk; functions.py is their only caller.
 *
 *   separable   y = BN(pointwise(depthwise(relu?(x)))) (+ residual) (then relu)
 *   convolution y = BN(conv(x)) (+ residual) (then relu)
 *
 * Active channels are a prefix of the full ones, so weights are read, and gradients written,
 * as sub-blocks of the full arrays through their row length. One parallel region a call; work
 * is split over channels or tiles, each summed by one thread: results do not depend on timing. */
#include <math.h>
#include <stdlib.h>
#include "gemm.h"
#include "depthwise.h"

typedef struct {
  /* shape: of x, of y, of the full weights (long), mirrored by functions.Layer */
  long in, height, width, batch, out, out_height, out_width, full_in, full_out, full_depthwise;
  long kernel, full_kernel, stride, steps; /* steps: kernel matrices to apply, 0 to 2 */
  long relu_in, relu_out, fixed;           /* fixed: mean and variance are given */
  /* 1: add to the gradient, 0: overwrite it (zero outside the active part) */
  long add_x, add_depthwise, add_matrix[2], add_weight, add_gamma, add_beta, add_residual;
  double eps, decay;
  /* values; depthwise NULL: plain convolution, y NULL: only the linear part and statistics */
  const float *x, *depthwise, *matrix[2], *weight, *gamma, *beta, *residual;
  const int *position; /* row r of the weight is row position[r] of y; NULL: r */
  float *y, *mean, *variance, *scale; /* scale = gamma / sqrt(variance + eps), and 1 / sqrt */
  float *running_mean, *running_variance;
  float *hidden, *z; /* after the depthwise, after the pointwise convolution */
  /* gradients; NULL where not needed */
  const float *dy;
  float *dx, *d_depthwise, *d_matrix[2], *d_weight, *d_gamma, *d_beta, *d_residual;
} layer;

long layer_size(void) { return sizeof(layer); }

static int threads = 1;
void set_threads(int n) { threads = n; }

/* Each calling thread keeps one grown workspace. It never shrinks: it is a few megabytes. */
static float *workspace(long floats) {
  static _Thread_local float *space;
  static _Thread_local long size;
#ifndef __SANITIZE_ADDRESS__ /* which is to see the exact size */
  if (floats <= size) return space;
#endif
  free(space);
  size = round_up(floats, LANES);
  if (!(space = aligned_alloc(64, sizeof(float) * size))) abort();
  return space;
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

static void normalize(const layer *u) {
  long n = u->out_height * u->out_width * u->batch;
#pragma omp for schedule(static)
  for (long r = 0; r < u->out; r++) {
    const float *z = u->z + r * n;
    if (!u->fixed) {
      u->mean[r] = centred_sum(z, 0, z, n) / n;
      double variance = centred_sum(z, u->mean[r], NULL, n) / n;
      u->variance[r] = variance;
      if (u->running_mean) {
        double unbiased = variance * n / max_of(n - 1, 1);
        u->running_mean[r] = u->decay * u->running_mean[r] + (1 - u->decay) * u->mean[r];
        u->running_variance[r] = u->decay * u->running_variance[r] + (1 - u->decay) * unbiased;
      }
    }
    double inverse = 1 / sqrt(u->variance[r] + u->eps);
    u->scale[r] = u->gamma[r] * inverse;
    u->scale[u->out + r] = inverse;
    if (!u->y) continue;
    float mean = u->mean[r], scale = u->scale[r], beta = u->beta[r];
    long to = (u->position ? u->position[r] : r) * n;
    float *y = u->y + to;
    const float *residual = u->residual ? u->residual + to : NULL;
    for (long i = 0; i < n; i += RUN) { /* short runs: the second loop finds y in cache */
      long end = min_of(i + RUN, n);
      if (residual)
        for (long j = i; j < end; j++) y[j] = (z[j] - mean) * scale + beta + residual[j];
      else
        for (long j = i; j < end; j++) y[j] = (z[j] - mean) * scale + beta;
      if (u->relu_out)
        for (long j = i; j < end; j++) y[j] = relu(y[j]);
    }
  }
}

/* Turns z into its own gradient; gradients of gamma, beta and the residual. */
static void normalize_backward(const layer *u) {
  long n = u->out_height * u->out_width * u->batch;
#pragma omp for schedule(static)
  for (long r = 0; r < u->out; r++) {
    long from = (u->position ? u->position[r] : r) * n;
    const float *y = u->y + from, *dy = u->dy + from;
    float *z = u->z + r * n, mean = u->mean[r], scale = u->scale[r], inverse = u->scale[u->out + r];
    double sum = 0, product = 0;
    for (long i = 0; i < n; i += RUN) {
      float s = 0, p = 0;
      long end = min_of(i + RUN, n);
      if (u->relu_out)
#pragma omp simd reduction(+ : s, p)
        for (long j = i; j < end; j++) {
          float g = y[j] > 0 ? dy[j] : 0;
          s += g, p += g * (z[j] - mean);
        }
      else
#pragma omp simd reduction(+ : s, p)
        for (long j = i; j < end; j++) s += dy[j], p += dy[j] * (z[j] - mean);
      sum += s, product += p;
    }
    if (u->d_gamma) u->d_gamma[r] = product * inverse + (u->add_gamma ? u->d_gamma[r] : 0);
    if (u->d_beta) u->d_beta[r] = sum + (u->add_beta ? u->d_beta[r] : 0);
    float shift = u->fixed ? 0 : sum / n, slope = u->fixed ? 0 : product / n * inverse * inverse;
    float *residual = u->d_residual ? u->d_residual + from : NULL;
    for (long i = 0; i < n; i++) {
      float g = !u->relu_out || y[i] > 0 ? dy[i] : 0;
      if (residual) residual[i] = u->add_residual ? residual[i] + g : g;
      z[i] = (g - shift - (z[i] - mean) * slope) * scale;
    }
  }
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

/* Kernels by size, [0] the largest: kernel[s + 1] (in, k * k) = crop[s] times matrix[s], crop[s]
 * being the centre of kernel[s]. `rest` is workspace. */
typedef struct { float *kernel[3], *crop[2], *gradient[3], *rest; } kernels;

static kernels kernels_in(const layer *u, float *space) {
  kernels all = {.kernel = {(float *)u->depthwise}};
  for (int s = 0; s <= u->steps; s++) {
    long k = u->full_kernel - 2 * s, size = round_up(u->in * k * k, LANES);
    all.gradient[s] = space, space += size;
    if (s) all.kernel[s] = space, all.crop[s - 1] = space + size, space += 2 * size;
  }
  all.rest = space;
  return all;
}

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

static void shrink_kernels(const layer *u, const kernels *all) {
  for (int s = 0; s < u->steps; s++) {
    long k = u->full_kernel - 2 * s - 2, size = k * k;
    crop_centres(u->in, k, all->kernel[s], all->crop[s], 0);
    gemm(u->in, size, size, all->crop[s], size, 1, u->matrix[s], size, 1, all->kernel[s + 1], size,
         0, all->rest);
  }
}

/* From the smallest kernels' gradient to those of the matrices and of the largest kernels. */
static void shrink_kernels_backward(const layer *u, const kernels *all) {
  for (int s = u->steps - 1; s >= 0; s--) {
    long k = u->full_kernel - 2 * s - 2, size = k * k;
    const float *gradient = all->gradient[s + 1];
    if (u->d_matrix[s])
      gemm(size, size, u->in, all->crop[s], 1, size, gradient, size, 1, u->d_matrix[s], size,
           u->add_matrix[s], all->rest);
    gemm(u->in, size, size, gradient, size, 1, u->matrix[s], 1, size, all->crop[s], size, 0,
         all->rest);
    crop_centres(u->in, k, all->gradient[s], all->crop[s], 1);
  }
}

/* ---- linear parts ----------------------------------------------------------------------- */

static void separable_linear(const layer *u, const plane *p, float *space) {
  kernels all = kernels_in(u, space);
  float *own = all.rest + omp_get_thread_num() * plane_space(p);
  long n = u->height * u->width * u->batch, size = u->kernel * u->kernel;
  shrink_kernels(u, &all);
  memset(own, 0, sizeof(float) * plane_space(p));
#pragma omp for schedule(static)
  for (long c = 0; c < u->in; c++)
    depthwise_forward(p, u->x + c * n, all.kernel[u->steps] + c * size, u->relu_in,
                      u->hidden + c * n, own);
  gemm(u->out, n, u->in, u->weight, u->full_in, 1, u->hidden, n, 1, u->z, n, 0, all.rest);
}

static void separable_linear_backward(const layer *u, const plane *p, float *space) {
  kernels all = kernels_in(u, space);
  float *own = all.rest + omp_get_thread_num() * plane_space(p);
  long n = u->height * u->width * u->batch, size = u->kernel * u->kernel;
  if (u->d_weight) {
    if (!u->add_weight) zero_outside(u->d_weight, u->out, u->in, u->full_out, u->full_in);
    gemm(u->out, u->in, n, u->z, n, 1, u->hidden, 1, n, u->d_weight, u->full_in, u->add_weight,
         all.rest);
  }
  if (!u->dx && !u->d_depthwise) return;
  /* hidden has been used: its own gradient takes its place */
  gemm(u->in, n, u->out, u->weight, 1, u->full_in, u->z, n, 1, u->hidden, n, 0, all.rest);
  shrink_kernels(u, &all);
  memset(own, 0, sizeof(float) * plane_space(p));
#pragma omp for schedule(static)
  for (long c = 0; c < u->in; c++)
    depthwise_backward(p, u->x + c * n, all.kernel[u->steps] + c * size, u->relu_in,
                       u->hidden + c * n, u->dx ? u->dx + c * n : NULL, u->add_x,
                       u->d_depthwise ? all.gradient[u->steps] + c * size : NULL, own);
  if (!u->d_depthwise) return;
  shrink_kernels_backward(u, &all);
  long full = u->full_kernel * u->full_kernel;
  if (!u->add_depthwise) zero_outside(u->d_depthwise, 1, u->in * full, 1, u->full_depthwise * full);
#pragma omp for schedule(static)
  for (long i = 0; i < u->in * full; i++)
    u->d_depthwise[i] = all.gradient[0][i] + (u->add_depthwise ? u->d_depthwise[i] : 0);
}

enum { COLUMNS = 512 * 1024 }; /* floats of unfolded input at a time */

/* Rows of output that are unfolded at a time. */
static long strip_of(const layer *u) {
  long row = u->in * u->kernel * u->kernel * u->out_width * u->batch;
  return min_of(max_of(COLUMNS / row, 1), u->out_height);
}

/* One row of unfolded columns, that is one channel's inputs under one tap, over output rows
 * [first, last): copied there (im2col), or their gradients added from there (col2im). */
static void unfold_row(const layer *u, long row, long first, long last, float *columns,
                       float *image, int back) {
  long k = u->kernel, y = row / k % k - k / 2, x = row % k - k / 2, step = u->stride;
  long line = u->out_width * u->batch;
  /* output columns whose input is inside the image; at stride 1 they are one contiguous run */
  long begin = x < 0, end = min_of(u->out_width, parts(u->width - x, step));
  long runs = step == 1 ? end > begin : end - begin;
  long size = step == 1 ? (end - begin) * u->batch : u->batch;
  image += row / (k * k) * u->height * u->width * u->batch;
  for (long r = first; r < last; r++, columns += line) {
    long at = r * step + y;
    int inside = at >= 0 && at < u->height && runs > 0;
    if (!back) memset(columns, 0, sizeof(float) * (inside ? begin * u->batch : line));
    if (!inside) continue;
    for (long i = 0; i < runs; i++) {
      float *pixels = image + (at * u->width + (begin + i) * step + x) * u->batch;
      float *column = columns + (begin + i) * u->batch;
      if (back)
        for (long j = 0; j < size; j++) pixels[j] += column[j];
      else
        for (long j = 0; j < size; j++) column[j] = pixels[j];
    }
    if (!back) memset(columns + end * u->batch, 0, sizeof(float) * (line - end * u->batch));
  }
}

static void convolution(const layer *u, float *space) {
  long rows = u->in * u->kernel * u->kernel, line = u->out_width * u->batch;
  long n = u->out_height * line, strip = strip_of(u);
  float *columns = space, *rest = space + round_up(rows * strip * line, LANES);
  for (long first = 0; first < u->out_height; first += strip) {
    long last = min_of(first + strip, u->out_height), count = (last - first) * line;
#pragma omp for schedule(static)
    for (long r = 0; r < rows; r++)
      unfold_row(u, r, first, last, columns + r * count, (float *)u->x, 0);
    gemm(u->out, count, rows, u->weight, u->full_in * u->kernel * u->kernel, 1, columns, count, 1,
         u->z + first * line, n, 0, rest);
  }
}

static void convolution_backward(const layer *u, float *space) {
  long size = u->kernel * u->kernel, line = u->out_width * u->batch;
  long rows = u->in * size, full_rows = u->full_in * size;
  long n = u->out_height * line, strip = strip_of(u);
  float *columns = space, *rest = space + round_up(rows * strip * line, LANES);
  if (u->d_weight && !u->add_weight)
    zero_outside(u->d_weight, u->out, rows, u->full_out, full_rows);
  if (u->dx && !u->add_x) zero_outside(u->dx, 0, 0, u->in, u->height * u->width * u->batch);
  for (long first = 0; first < u->out_height; first += strip) {
    long last = min_of(first + strip, u->out_height), count = (last - first) * line;
    const float *dz = u->z + first * line;
    if (u->d_weight) {
#pragma omp for schedule(static)
      for (long r = 0; r < rows; r++)
        unfold_row(u, r, first, last, columns + r * count, (float *)u->x, 0);
      gemm(u->out, rows, count, dz, n, 1, columns, 1, count, u->d_weight, full_rows,
           first || u->add_weight, rest);
    }
    if (!u->dx) continue;
    gemm(rows, count, u->out, u->weight, 1, full_rows, dz, n, 1, columns, count, 0, rest);
#pragma omp for schedule(static)
    for (long c = 0; c < u->in; c++)
      for (long r = c * size; r < (c + 1) * size; r++)
        unfold_row(u, r, first, last, columns + r * count, u->dx, 1);
  }
}

/* ---- entry points ----------------------------------------------------------------------- */

static float *layer_space(const layer *u, const plane *p) {
  if (u->depthwise) {
    long rest = max_of(gemm_space(max_of(max_of(u->in, u->out), TAPS), DEPTH),
                       threads * plane_space(p));
    long kernel = round_up(u->in * u->full_kernel * u->full_kernel, LANES);
    return workspace(rest + (1 + 3 * u->steps) * kernel);
  }
  long rows = u->in * u->kernel * u->kernel, columns = strip_of(u) * u->out_width * u->batch;
  return workspace(gemm_space(max_of(rows, u->out), DEPTH) + round_up(rows * columns, LANES));
}

void layer_forward(const layer *u) {
  plane p = plane_of(u->height, u->width, u->batch, u->kernel);
  float *space = layer_space(u, &p);
#pragma omp parallel num_threads(threads)
  {
    if (u->depthwise) separable_linear(u, &p, space);
    else convolution(u, space);
    normalize(u);
  }
}

void layer_backward(const layer *u) {
  plane p = plane_of(u->height, u->width, u->batch, u->kernel);
  float *space = layer_space(u, &p);
#pragma omp parallel num_threads(threads)
  {
    if (u->d_gamma && !u->add_gamma) zero_outside(u->d_gamma, 1, u->out, 1, u->full_out);
    if (u->d_beta && !u->add_beta) zero_outside(u->d_beta, 1, u->out, 1, u->full_out);
    normalize_backward(u);
    if (u->depthwise) separable_linear_backward(u, &p, space);
    else convolution_backward(u, space);
  }
}

/* Max-pooling 3x3, stride 2, pad 1, plus skip. Padding never wins; NaN does. Eight images at a
 * time: the batch is the only contiguous run of a strided window, and it is often just eight. */
typedef float float8 __attribute__((vector_size(32)));
typedef int int8 __attribute__((vector_size(32)));
typedef unsigned char byte8 __attribute__((vector_size(8)));

/* `count` (1 to 8) outputs at window (top, left); winner: each one's first maximum, tap 0 to 8. */
INLINE void pool_block(long height, long width, long batch, long top, long left, const float *x,
                       const float *skip, float *y, unsigned char *winner, const long count) {
  float8 best = (float8){0} - INFINITY, add = {0};
  int8 tap_of = (int8){0} + 4; /* the centre, always inside */
  for (int tap = 0; tap < 9; tap++) {
    long at = top + tap / 3, column = left + tap % 3;
    if (at < 0 || at >= height || column < 0 || column >= width) continue;
    float8 value = {0};
    memcpy(&value, x + (at * width + column) * batch, sizeof(float) * count);
    int8 wins = (value > best) | (value != value);
    best = (float8)((wins & (int8)value) | (~wins & (int8)best));
    tap_of = (wins & tap) | (~wins & tap_of);
  }
  memcpy(&add, skip, sizeof(float) * count);
  best += add;
  memcpy(y, &best, sizeof(float) * count);
  byte8 bytes = __builtin_convertvector(tap_of, byte8);
  if (winner) memcpy(winner, &bytes, count);
}

void pool_forward(long channels, long height, long width, long batch, const float *x,
                  const float *skip, float *y, unsigned char *winner) {
  long rows = (height + 1) / 2, columns = (width + 1) / 2;
#pragma omp parallel for schedule(static) num_threads(threads)
  for (long r = 0; r < channels * rows; r++)
    for (long q = 0; q < columns; q++)
      for (long i = 0; i < batch; i += 8) {
        const float *from = x + r / rows * height * width * batch + i;
        long out = (r * columns + q) * batch + i, top = r % rows * 2 - 1, count = batch - i;
        unsigned char *kept = winner ? winner + out : NULL;
        if (count >= 8)
          pool_block(height, width, batch, top, q * 2 - 1, from, skip + out, y + out, kept, 8);
        else
          pool_block(height, width, batch, top, q * 2 - 1, from, skip + out, y + out, kept, count);
      }
}

/* dx (+)= dy where the window's maximum came from: each input asks the windows that hold it,
 * rows [y0, y1] and columns [x0, x1]. */
INLINE void pool_block_backward(long columns, long batch, long at, long column, long y1, long x1,
                                const float *dy, const unsigned char *winner, float *dx, int add,
                                const long count) {
  float8 sum = {0};
  if (add) memcpy(&sum, dx, sizeof(float) * count);
  for (long y = at / 2; y <= y1; y++)
    for (long x = column / 2; x <= x1; x++) {
      long out = (y * columns + x) * batch;
      int tap = (at - 2 * y + 1) * 3 + column - 2 * x + 1;
      float8 gradient = {0};
      byte8 bytes = {0};
      memcpy(&gradient, dy + out, sizeof(float) * count);
      memcpy(&bytes, winner + out, count);
      sum += (float8)((int8)gradient & (__builtin_convertvector(bytes, int8) == tap));
    }
  memcpy(dx, &sum, sizeof(float) * count);
}

void pool_backward(long channels, long height, long width, long batch, const float *dy,
                   const unsigned char *winner, float *dx, int add) {
  long rows = (height + 1) / 2, columns = (width + 1) / 2;
#pragma omp parallel for schedule(static) num_threads(threads)
  for (long r = 0; r < channels * height; r++)
    for (long q = 0; q < width; q++)
      for (long i = 0; i < batch; i += 8) {
        long from = r / height * rows * columns * batch + i, at = r % height, count = batch - i;
        long y1 = min_of((at + 1) / 2, rows - 1), x1 = min_of((q + 1) / 2, columns - 1);
        float *to = dx + (r * width + q) * batch + i;
        if (count >= 8)
          pool_block_backward(columns, batch, at, q, y1, x1, dy + from, winner + from, to, add, 8);
        else
          pool_block_backward(columns, batch, at, q, y1, x1, dy + from, winner + from, to, add,
                              count);
      }
}
