/* Depthwise convolution (odd kernel, stride 1, `same` zero padding) of one channel's plane
 * (height, width, batch), and its gradients. A row is width * batch contiguous floats, so one
 * vector spans the batch and, where the batch is short, neighbouring columns too. */

typedef struct {
  long height, width, batch, row; /* row = width * batch floats */
  long kernel;                    /* as given, kernel x kernel weights a channel */
  long tall, wide;                /* taps that can meet the image: at most 2 * size - 1 */
  long stride;                    /* floats of a row padded by wide / 2 columns of zeros */
  long strip;                     /* output rows at a time, to stay in cache */
} plane;

enum { STRIP = 32 * 1024, TAPS = 7 * 7 };

static plane plane_of(long height, long width, long batch, long kernel) {
  plane p = {.height = height, .width = width, .batch = batch, .row = width * batch,
             .kernel = kernel};
  p.tall = min_of(kernel, 2 * height - 1);
  p.wide = min_of(kernel, 2 * width - 1);
  p.stride = round_up((width + p.wide - 1) * batch + LANES, LANES);
  p.strip = min_of(height, max_of(STRIP / p.stride, 8));
  return p;
}

/* Floats of workspace a thread needs: rows of x, padded ones of the gradient, sums, a zero row. */
static long plane_space(const plane *p) { return (3 * p->strip + p->tall + 1) * p->stride; }

/* A channel as its consumer sees it: (x - mean) * scale + beta, no less than `floor`. */
typedef struct { const float *x; float mean, scale, beta, floor; } channel;

/* 0 is the floor of a ReLU. A comparison with NaN is false, so NaN goes through. */
INLINE float seen(channel s, long i) {
  float value = (s.x[i] - s.mean) * s.scale + s.beta;
  return value < s.floor ? s.floor : value;
}

/* Rows [first, last) of the image into padded rows; the borders are zero already. */
static void load_rows(const plane *p, channel s, long first, long last, float *out) {
  out += p->wide / 2 * p->batch;
  s.x += first * p->row;
  for (long r = first; r < last; r++, s.x += p->row, out += p->stride)
    for (long i = 0; i < p->row; i++) out[i] = seen(s, i);
}

/* Two output rows times `vectors` vectors: each vector read serves both rows. `in` is what tap
 * (0, 0) of the first row meets; `taps` has a row of zeros before and after. The second row is
 * not stored where `rows` is 1, nor what is past `count` floats. */
INLINE void correlate_block(const plane *p, const float *in, const float *taps, long y0, long y1,
                            long x0, long x1, float *out, long rows, long count,
                            const int vectors) {
  vec sum[2][4];
  UNROLL for (int v = 0; v < vectors; v++) sum[0][v] = sum[1][v] = (vec){0};
  for (long y = y0; y < y1; y++)
    for (long x = x0; x < x1; x++) {
      const float *from = in + y * p->stride + x * p->batch, *tap = taps + y * p->wide + x;
      UNROLL for (int v = 0; v < vectors; v++) {
        vec value = load(from + v * LANES);
        sum[0][v] += tap[p->wide] * value, sum[1][v] += tap[0] * value;
      }
    }
  int whole = rows == 2 && count >= vectors * LANES;
  UNROLL for (int r = 0; r < 2; r++)
    UNROLL for (int v = 0; v < vectors; v++) {
      float *to = out + r * p->row + v * LANES;
      if (whole) store(to, sum[r][v]);
      else if (r < rows) store_part(to, sum[r][v], count - v * LANES);
    }
}

/* Output rows [first, last) from padded rows whose first is `top`. */
static void correlate(const plane *p, const float *padded, long top, const float *taps, long first,
                      long last, float *out) {
  for (long j = 0; j < p->row;) {
    long vectors = parts(p->row - j, LANES) >= 4 ? 4 : 1;
    /* only taps that meet the image from one of this block's columns */
    long left = j / p->batch, right = min_of((j + vectors * LANES - 1) / p->batch, p->width - 1);
    long x0 = max_of(0, p->wide / 2 - right), x1 = min_of(p->wide, p->width + p->wide / 2 - left);
    for (long r = first; r < last; r += 2) {
      long rows = min_of(2, last - r), above = p->tall / 2 - r;
      long y0 = max_of(0, above), y1 = min_of(p->tall + rows - 1, p->height + above);
      const float *in = padded - (above + top) * p->stride + j;
      float *to = out + (r - first) * p->row + j;
      if (vectors == 4)
        correlate_block(p, in, taps, y0, y1, x0, x1, to, rows, p->row - j, 4);
      else
        correlate_block(p, in, taps, y0, y1, x0, x1, to, rows, p->row - j, 1);
    }
    j += vectors * LANES;
  }
}

/* taps[1 + y][x] = the part of the kernel that can meet the image, flipped for the input's
 * gradient, with a row of zeros before and after. */
static void crop_taps(const plane *p, const float *kernel, int flip, float *taps) {
  long top = (p->kernel - p->tall) / 2, left = (p->kernel - p->wide) / 2, last = p->tall * p->wide;
  memset(taps, 0, sizeof(float) * (p->tall + 2) * p->wide);
  for (long y = 0; y < p->tall; y++)
    for (long x = 0; x < p->wide; x++) {
      long t = y * p->wide + x;
      taps[p->wide + (flip ? last - 1 - t : t)] = kernel[(top + y) * p->kernel + left + x];
    }
}

/* Output rows [first, last), at most a strip, into y. */
static void depthwise_forward(const plane *p, channel x, const float *kernel, long first, long last,
                              float *y, float *space) {
  float taps[TAPS + 2 * 7];
  crop_taps(p, kernel, 0, taps);
  long top = max_of(first - p->tall / 2, 0);
  load_rows(p, x, top, min_of(last + p->tall / 2, p->height), space);
  correlate(p, space, top, taps, first, last, y);
}

/* Adds to sum[y][x] the products of gradient and input that meet under taps of `rows` (1, 2) rows
 * of the kernel from y on, over input rows [first, last). `zeros` is an output row beyond the
 * image: rows y and y + 1 meet the image one row apart. */
INLINE void tap_sums(const plane *p, const float *x, const float *gradient, long top, long first,
                     long last, const float *zeros, long y, double *sum, const int rows,
                     const int wide) {
  enum { VECTORS = (2 * 7 + LANES - 1) / LANES * LANES };
  vec total[VECTORS];
  long shift = p->tall / 2 - y, begin = max_of(first, -shift); /* r + shift: the output row */
  UNROLL for (int i = 0; i < VECTORS; i++) total[i] = (vec){0};
  gradient += p->wide / 2 * p->batch - top * p->stride;
  for (long r = begin; r < min_of(last, p->height - shift + rows - 1); r++) {
    const float *from = x + (r - first) * p->stride, *g0 = gradient + (r + shift) * p->stride;
    const float *g1 = r + shift > 0 ? g0 - p->stride : zeros;
    if (r + shift == p->height) g0 = zeros;
    for (long j = 0; j < p->row; j += LANES) {
      vec v0 = load(g0 + j), v1 = rows == 2 ? load(g1 + j) : v0;
      UNROLL for (int i = 0; i < wide; i++) {
        vec value = load(from + j + i * p->batch);
        total[i] += v0 * value;
        if (rows == 2) total[wide + i] += v1 * value;
      }
    }
  }
  float lanes[LANES];
  UNROLL for (int i = 0; i < rows * wide; i += LANES) {
    store(lanes, lane_sums(total + i));
    for (int l = 0; l < min_of(LANES, rows * wide - i); l++) sum[y * wide + i + l] += lanes[l];
  }
}

/* dx (+)= the gradient of what the consumer sees, zero where the ReLU was; dkernel (+)= the taps'.
 * Either may be NULL. */
static void depthwise_backward(const plane *p, channel x, const float *kernel,
                               const float *gradient, float *dx, int add_x, float *dkernel,
                               int add_kernel, float *space) {
  float taps[TAPS + 2 * 7], *padded = space + p->strip * p->stride;
  float *out = padded + (p->strip + p->tall) * p->stride, *zeros = out + p->strip * p->stride;
  double sum[TAPS] = {0};
  channel g = {gradient, 0, 1, 0, -INFINITY};
  crop_taps(p, kernel, 1, taps);
  for (long first = 0; first < p->height; first += p->strip) {
    long last = min_of(first + p->strip, p->height), top = max_of(first - p->tall / 2, 0);
    load_rows(p, g, top, min_of(last + p->tall / 2, p->height), padded);
    if (dkernel) load_rows(p, x, first, last, space);
    for (long y = 0; dkernel && y < p->tall; y += 2)
      switch (p->wide) {
#define TAP_SUMS(wide) \
  case wide: \
    if (y + 1 < p->tall) tap_sums(p, space, padded, top, first, last, zeros, y, sum, 2, wide); \
    else tap_sums(p, space, padded, top, first, last, zeros, y, sum, 1, wide); \
    break;
        TAP_SUMS(1) TAP_SUMS(3) TAP_SUMS(5) TAP_SUMS(7)
#undef TAP_SUMS
      }
    if (!dx) continue;
    correlate(p, padded, top, taps, first, last, out);
    for (long i = first * p->row; i < last * p->row; i++) {
      float passed = seen(x, i) <= x.floor ? 0 : out[i - first * p->row];
      dx[i] = add_x ? dx[i] + passed : passed;
    }
  }
  if (!dkernel) return;
  if (!add_kernel) memset(dkernel, 0, sizeof(float) * p->kernel * p->kernel);
  dkernel += (p->kernel - p->tall) / 2 * p->kernel + (p->kernel - p->wide) / 2;
  for (long y = 0; y < p->tall; y++, dkernel += p->kernel)
    for (long i = 0; i < p->wide; i++) dkernel[i] += (float)sum[y * p->wide + i];
}
