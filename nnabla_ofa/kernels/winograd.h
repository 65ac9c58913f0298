/* 3x3 convolution with stride 1 by Winograd's F(2x2, 3x3): 16 products in place of 36 a 2x2 of output.
 *
 *   y = A' [(G w G') * (B' x B)] A    of every 4x4 tile x of the image, two pixels apart
 *
 * The elementwise products over channels are 16 matrix products. Gradients are the same steps back:
 * each transform's adjoint. Lavin & Gray, Fast Algorithms for Convolutional Neural Networks, CVPR 2016,
 * section 4.1. Images are the lanes: their number is a multiple of LANES. */

enum { PLANES = 16, STEP = 256 * 1024 }; /* floats of transformed inputs and outputs at a time */

typedef struct {
  long wide, tiles; /* tiles in a row; all of them */
  long step;        /* tiles at a time */
} tiling;

static tiling tiling_of(const convolution *c) {
  tiling t = {.wide = parts(c->out_width, 2)};
  t.tiles = t.wide * parts(c->out_height, 2);
  t.step = min_of(t.tiles, max_of(STEP / (PLANES * (c->w_in + c->w_out) * c->batch), 1));
  return t;
}

/* Whether it can serve, and saves products enough to pay for its transforms. */
static int is_winograd(const convolution *c) {
  int can = c->groups == 1 && c->kernel[0] == 3 && c->kernel[1] == 3 && c->stride[0] == 1 &&
            c->stride[1] == 1 && c->batch % LANES == 0;
  long computed = 4 * parts(c->out_height, 2) * parts(c->out_width, 2);
  return can && min_of(c->w_in, c->w_out) >= 16 && 2 * computed <= 3 * c->out_height * c->out_width &&
         computed * c->batch >= 512;
}

/* Addresses of a tile's size x size pixels, two pixels from those of the next tile; those beyond the
 * image are `outside`. */
INLINE void pixels_of(long q, long wide, long pad_rows, long pad_columns, long height, long width, long batch,
                      float *image, float *outside, const int size, float **at) {
  long top = q / wide * 2 - pad_rows, left = q % wide * 2 - pad_columns;
  for (int i = 0; i < size * size; i++) {
    long y = top + i / size, x = left + i % size;
    int inside = y >= 0 && y < height && x >= 0 && x < width;
    at[i] = inside ? image + (y * width + x) * batch : outside;
  }
}
INLINE void inputs_of(const convolution *c, long q, float *image, float *outside, float **at) {
  pixels_of(q, parts(c->out_width, 2), c->pad[0], c->pad[1], c->height, c->width, c->batch, image, outside,
            4, at);
}
INLINE void outputs_of(const convolution *c, long q, float *image, float *outside, float **at) {
  pixels_of(q, parts(c->out_width, 2), 0, 0, c->out_height, c->out_width, c->batch, image, outside, 2, at);
}

/* 16 matrices (rows, columns), row-major or as packed panels of B. */
typedef struct { float *p; long rows, columns; int packed; } planes;
static long plane_floats(const planes *m) {
  return m->rows * (m->packed ? round_up(m->columns, TILE_COLUMNS) : m->columns);
}
INLINE float *place(const planes *m, long row, long column) {
  if (!m->packed) return m->p + row * m->columns + column;
  return m->p + (column / TILE_COLUMNS * m->rows + row) * TILE_COLUMNS + column % TILE_COLUMNS;
}

#define EACH(i, n) UNROLL for (int i = 0; i < n; i++)

/* v = B' d B */
INLINE void input_transform(vec d[16]) {
  EACH(j, 4) {
    vec a = d[j], b = d[4 + j], e = d[8 + j], f = d[12 + j];
    d[j] = a - e, d[4 + j] = b + e, d[8 + j] = e - b, d[12 + j] = b - f;
  }
  EACH(i, 4) {
    vec *r = d + 4 * i, a = r[0], b = r[1], e = r[2], f = r[3];
    r[0] = a - e, r[1] = b + e, r[2] = e - b, r[3] = b - f;
  }
}
INLINE void input_adjoint(vec v[16]) {
  EACH(j, 4) {
    vec a = v[j], b = v[4 + j], e = v[8 + j], f = v[12 + j];
    v[j] = a, v[4 + j] = b - e + f, v[8 + j] = b + e - a, v[12 + j] = -f;
  }
  EACH(i, 4) {
    vec *r = v + 4 * i, a = r[0], b = r[1], e = r[2], f = r[3];
    r[0] = a, r[1] = b - e + f, r[2] = b + e - a, r[3] = -f;
  }
}
/* y (2, 2) = A' m A */
INLINE void output_transform(const vec m[16], vec y[4]) {
  vec half[2][4];
  EACH(j, 4) {
    half[0][j] = m[j] + m[4 + j] + m[8 + j];
    half[1][j] = m[4 + j] - m[8 + j] - m[12 + j];
  }
  EACH(i, 2) {
    y[2 * i] = half[i][0] + half[i][1] + half[i][2];
    y[2 * i + 1] = half[i][1] - half[i][2] - half[i][3];
  }
}
INLINE void output_adjoint(const vec y[4], vec m[16]) {
  vec half[4][2];
  EACH(j, 2) {
    half[0][j] = y[j], half[1][j] = y[j] + y[2 + j], half[2][j] = y[j] - y[2 + j], half[3][j] = -y[2 + j];
  }
  EACH(i, 4) {
    m[4 * i] = half[i][0], m[4 * i + 1] = half[i][0] + half[i][1];
    m[4 * i + 2] = half[i][0] - half[i][1], m[4 * i + 3] = -half[i][1];
  }
}

/* Tiles [first, last) of channel `row` of the image, transformed, into their columns. */
static void tiles_in(const convolution *c, long row, long first, long last, const float *image,
                     float *outside, planes to) {
  long plane = plane_floats(&to);
  float *at[16];
  for (long q = first; q < last; q++) {
    inputs_of(c, q, (float *)image, outside, at);
    for (long n = 0; n < c->batch; n += LANES) {
      vec d[16];
      EACH(i, 16) d[i] = load(at[i] + n);
      input_transform(d);
      float *own = place(&to, row, (q - first) * c->batch + n);
      EACH(i, 16) store(own + i * plane, d[i]);
    }
  }
}

/* Adds the gradients of tiles [first, last) to those of the image. */
static void tiles_in_back(const convolution *c, long row, long first, long last, float *image,
                          float *outside, planes from) {
  long plane = plane_floats(&from);
  float *at[16];
  for (long q = first; q < last; q++) {
    inputs_of(c, q, image, outside, at);
    for (long n = 0; n < c->batch; n += LANES) {
      const float *own = place(&from, row, (q - first) * c->batch + n);
      vec d[16];
      EACH(i, 16) d[i] = load(own + i * plane);
      input_adjoint(d);
      EACH(i, 16) store(at[i] + n, load(at[i] + n) + d[i]);
    }
  }
}

/* Tiles [first, last) of output channel `row`, + bias, + residual, activation. */
static void tiles_out(const convolution *c, long row, long first, long last, planes from, float *outside) {
  long plane = plane_floats(&from), n_out = c->out_height * c->out_width * c->batch;
  float *at[4], bias = c->bias ? c->bias[row] : 0;
  for (long q = first; q < last; q++) {
    outputs_of(c, q, c->y + row * n_out, outside, at);
    for (long n = 0; n < c->batch; n += LANES) {
      const float *own = place(&from, row, (q - first) * c->batch + n);
      vec m[16], y[4];
      EACH(i, 16) m[i] = load(own + i * plane);
      output_transform(m, y);
      EACH(i, 4) {
        vec value = y[i] + bias;
        if (c->residual && at[i] != outside) value += load(c->residual + (at[i] - c->y) + n);
        store(at[i] + n, value);
      }
    }
    if (c->activation)
      EACH(i, 4) if (at[i] != outside)
        FOR_KIND(c->activation, for (long n = 0; n < c->batch; n += LANES)
                                    store(at[i] + n, activated(load(at[i] + n), KIND)))
  }
}

/* Gradients of the outputs of tiles [first, last) of channel `row`, into their columns. */
static void tiles_out_back(const convolution *c, long row, long first, long last, float *zeros, planes to) {
  long plane = plane_floats(&to), n_out = c->out_height * c->out_width * c->batch;
  float *at[4];
  for (long q = first; q < last; q++) {
    outputs_of(c, q, (float *)c->dy + row * n_out, zeros, at);
    for (long n = 0; n < c->batch; n += LANES) {
      vec y[4], m[16];
      EACH(i, 4) y[i] = load(at[i] + n);
      output_adjoint(y, m);
      float *own = place(&to, row, (q - first) * c->batch + n);
      EACH(i, 16) store(own + i * plane, m[i]);
    }
  }
}

/* G w G' of every kernel, (16, w_out, w_in). `lines` holds 25 (w_in) rows. */
static void kernels_in(const convolution *c, float *transformed, float *lines) {
  long n = c->w_in, row = c->full_in * 9, width = round_up(n, LANES), plane = c->w_out * n;
  float *g = lines;
#pragma omp for schedule(static)
  for (long o = 0; o < c->w_out; o++) {
    for (long i = 0; i < n; i++)
      for (int t = 0; t < 9; t++) g[t * width + i] = c->weight[o * row + i * 9 + t];
    for (long i = 0; i < n; i += LANES) {
      vec half[4][3];
      EACH(t, 3) {
        vec a = load(g + t * width + i), b = load(g + (3 + t) * width + i), d = load(g + (6 + t) * width + i);
        half[0][t] = a, half[1][t] = 0.5f * (a + b + d), half[2][t] = 0.5f * (a - b + d), half[3][t] = d;
      }
      float *own = transformed + o * n + i;
      EACH(r, 4) {
        vec a = half[r][0], b = half[r][1], d = half[r][2];
        store_part(own + (4 * r) * plane, a, n - i);
        store_part(own + (4 * r + 1) * plane, 0.5f * (a + b + d), n - i);
        store_part(own + (4 * r + 2) * plane, 0.5f * (a - b + d), n - i);
        store_part(own + (4 * r + 3) * plane, d, n - i);
      }
    }
  }
}

/* The kernels' gradients from those of the transformed ones. */
static void kernels_back(const convolution *c, const float *transformed, float *lines) {
  long n = c->w_in, row = c->full_in * 9, width = round_up(n, LANES), plane = c->w_out * n;
  float *g = lines;
#pragma omp for schedule(static)
  for (long o = 0; o < c->w_out; o++) {
    for (long i = 0; i < n; i += LANES) {
      const float *own = transformed + o * n + i;
      vec half[3][4];
      EACH(t, 4) {
        vec u[4];
        EACH(r, 4) u[r] = load_part(own + (4 * r + t) * plane, n - i);
        half[0][t] = u[0] + 0.5f * (u[1] + u[2]), half[1][t] = 0.5f * (u[1] - u[2]);
        half[2][t] = 0.5f * (u[1] + u[2]) + u[3];
      }
      EACH(r, 3) {
        vec *u = half[r];
        store(g + (3 * r) * width + i, u[0] + 0.5f * (u[1] + u[2]));
        store(g + (3 * r + 1) * width + i, 0.5f * (u[1] - u[2]));
        store(g + (3 * r + 2) * width + i, 0.5f * (u[1] + u[2]) + u[3]);
      }
    }
    float *to = c->d_weight + o * row;
    for (long i = 0; i < n; i++)
      for (int t = 0; t < 9; t++) to[i * 9 + t] = g[t * width + i] + (c->add_weight ? to[i * 9 + t] : 0);
  }
}

/* Where it is computed; of the threads' lines a thread has its own. */
typedef struct {
  float *kernels, *d_kernels, *in, *out, *space, *lines, *outside;
  long used;
} winograd_room;

static winograd_room winograd_room_of(const convolution *c, int backward, float *base, int thread) {
  space s = {base, 0};
  tiling t = tiling_of(c);
  long columns = round_up(t.step * c->batch, TILE_COLUMNS), size = c->w_in * c->w_out;
  long widest = max_of(max_of(c->w_in, c->w_out), 1);
  winograd_room r = {.kernels = take(&s, PLANES * size)};
  r.d_kernels = backward ? take(&s, PLANES * size) : NULL;
  r.in = take(&s, PLANES * c->w_in * columns), r.out = take(&s, PLANES * c->w_out * columns);
  r.space = take(&s, backward ? gemm_space(PLANES, widest, max_of(columns, widest))
                              : PLANES * packed_size(c->w_out, c->w_in));
  for (int i = 0; i <= thread; i++)
    r.lines = take(&s, 9 * round_up(c->w_in, LANES)), r.outside = take(&s, c->batch);
  r.used = s.used;
  return r;
}

static void winograd_forward(const convolution *c, float *base) {
  winograd_room at = winograd_room_of(c, 0, base, omp_get_thread_num());
  tiling t = tiling_of(c);
  const float *packed = c->packed;
  if (!packed) {
    kernels_in(c, at.kernels, at.lines);
    pack_a(PLANES, c->w_out, c->w_in, (operand){at.kernels, c->w_in, 1, c->w_out * c->w_in}, at.space);
    packed = at.space;
  }
  for (long first = 0; first < t.tiles; first += t.step) {
    long last = min_of(first + t.step, t.tiles), columns = (last - first) * c->batch;
    planes in = {at.in, c->w_in, columns, 1}, out = {at.out, c->w_out, columns, 0};
    memset(at.outside, 0, sizeof(float) * c->batch);
#pragma omp for schedule(static)
    for (long i = 0; i < c->w_in; i++)
      tiles_in(c, i, first, last, c->x + i * c->height * c->width * c->batch, at.outside, in);
    multiply(PLANES, c->w_out, columns, c->w_in, packed, at.in,
             (target){.c = at.out, .stride = columns, .plane = c->w_out * columns});
#pragma omp for schedule(static)
    for (long o = 0; o < c->w_out; o++) tiles_out(c, o, first, last, out, at.outside);
  }
}

static void winograd_backward(const convolution *c, float *base) {
  winograd_room at = winograd_room_of(c, 1, base, omp_get_thread_num());
  tiling t = tiling_of(c);
  long size = c->w_out * c->w_in;
  if (c->dx) kernels_in(c, at.kernels, at.lines);
  for (long first = 0; first < t.tiles; first += t.step) {
    long last = min_of(first + t.step, t.tiles), columns = (last - first) * c->batch;
    planes in = {at.in, c->w_in, columns, 0}, out = {at.out, c->w_out, columns, 0};
    memset(at.outside, 0, sizeof(float) * c->batch);
#pragma omp for schedule(static) nowait
    for (long o = 0; o < c->w_out; o++) tiles_out_back(c, o, first, last, at.outside, out);
    if (c->d_weight)
#pragma omp for schedule(static) nowait
      for (long i = 0; i < c->w_in; i++)
        tiles_in(c, i, first, last, c->x + i * c->height * c->width * c->batch, at.outside, in);
#pragma omp barrier
    if (c->d_weight)
      gemm(PLANES, c->w_out, c->w_in, columns, (operand){at.out, columns, 1, c->w_out * columns},
           (operand){at.in, columns, 1, c->w_in * columns},
           (target){.c = at.d_kernels, .stride = c->w_in, .plane = size, .add = first > 0}, at.space);
    if (!c->dx) continue;
    gemm(PLANES, c->w_in, columns, c->w_out, (operand){at.kernels, 1, c->w_in, size},
         (operand){at.out, 1, columns, c->w_out * columns},
         (target){.c = at.in, .stride = columns, .plane = c->w_in * columns}, at.space);
#pragma omp for schedule(static)
    for (long i = 0; i < c->w_in; i++)
      tiles_in_back(c, i, first, last, c->dx + i * c->height * c->width * c->batch, at.outside, in);
  }
  if (c->d_weight) kernels_back(c, at.d_kernels, at.lines);
}
