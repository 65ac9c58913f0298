/* A convolution outside a block: any kernel, stride, padding and groups. Elastic in its widths where it
 * has one group: active channels are the first ones.
 *
 *   y = activation(convolution(x) + bias + residual), the last two and the activation for inference alone
 *
 * Columns of unfolded input are multiplied, a strip of output rows at a time; winograd.h has another way. */

/* layout.ConvolutionStruct has the same fields; `convolution_fields` lists them for the comparison. */
typedef struct {
  long height, width, batch;             /* of x (w_in, height, width, batch) */
  long groups, w_in, w_out;              /* active channels */
  long full_in, full_out;                /* channels of the weight (full_out, full_in / groups, kernel) */
  long kernel[2], stride[2], pad[2];     /* rows, columns */
  long activation;                       /* of activations.h */
  long add_x, add_weight, add_bias;      /* whether the backward pass adds to dx, d_weight, d_bias */
  const float *x, *weight, *bias;        /* bias: or NULL */
  const float *packed, *residual;        /* NULL, or the weight packed for inference; as y, or NULL */
  const float *dy;
  float *y, *dx, *d_weight, *d_bias;     /* gradients that are not wanted: NULL */
  long out_height, out_width;            /* completed by complete_convolution() */
} convolution;

void complete_convolution(convolution *c) {
  c->out_height = (c->height + 2 * c->pad[0] - c->kernel[0]) / c->stride[0] + 1;
  c->out_width = (c->width + 2 * c->pad[1] - c->kernel[1]) / c->stride[1] + 1;
}

#include "winograd.h"

/* Of a group: rows of unfolded columns; of the weight: floats of a row. Of the output: floats of a row, of a
 * channel. Rows of output at a time. Whether x itself is the columns. */
typedef struct { long rows, full_row, line, pixels, strip, direct; } unfolding;

static unfolding unfolding_of(const convolution *c) {
  long taps = c->kernel[0] * c->kernel[1];
  unfolding u = {.rows = c->w_in / c->groups * taps, .full_row = c->full_in / c->groups * taps,
                 .line = c->out_width * c->batch};
  u.pixels = c->out_height * u.line;
  u.strip = min_of(max_of(COLUMNS / (u.rows * c->groups * u.line), 1), c->out_height);
  u.direct = taps == 1 && c->stride[0] == 1 && c->stride[1] == 1 && !c->pad[0] && !c->pad[1];
  return u;
}

/* One row of unfolded columns, that is one channel's inputs under one tap, over output rows
 * [first, last): copied there (im2col), or their gradients added from there (col2im). */
static void unfold(const convolution *c, long row, long first, long last, float *columns, float *image,
                   int back) {
  long taps = c->kernel[0] * c->kernel[1], step = c->stride[1];
  long y = row % taps / c->kernel[1] - c->pad[0], x = row % c->kernel[1] - c->pad[1];
  /* output columns whose input is inside the image; at stride 1 they are one contiguous run */
  long begin = min_of(parts(max_of(-x, 0), step), c->out_width);
  long end = max_of(min_of(c->out_width, parts(max_of(c->width - x, 0), step)), begin);
  long runs = step == 1 ? end > begin : end - begin, line = c->out_width * c->batch;
  long size = step == 1 ? (end - begin) * c->batch : c->batch;
  image += row / taps * c->height * c->width * c->batch;
  for (long r = first; r < last; r++, columns += line) {
    long at = r * c->stride[0] + y;
    int inside = at >= 0 && at < c->height && runs > 0;
    if (!back) memset(columns, 0, sizeof(float) * (inside ? begin * c->batch : line));
    if (!inside) continue;
    for (long i = 0; i < runs; i++) {
      float *pixels = image + (at * c->width + (begin + i) * step + x) * c->batch;
      float *column = columns + (begin + i) * c->batch;
      if (back)
        for (long j = 0; j < size; j++) pixels[j] += column[j];
      else memcpy(column, pixels, sizeof(float) * size);
    }
    if (!back) memset(columns + end * c->batch, 0, sizeof(float) * (line - end * c->batch));
  }
}

typedef struct { float *columns, *space, *plane; long used; } unfold_room;

static unfold_room unfold_room_of(const convolution *c, int backward, float *base, int thread) {
  space s = {base, 0};
  unfolding u = unfolding_of(c);
  unfold_room r = {NULL};
  long out = c->w_out / c->groups, count = u.direct && backward ? 0 : u.strip * u.line;
  r.columns = take(&s, c->groups * u.rows * round_up(count, TILE_COLUMNS));
  r.space = take(&s, backward ? gemm_space(c->groups, max_of(u.rows, out), max_of(u.pixels, out))
                              : c->groups * packed_size(out, u.rows));
  for (int i = 0; i <= thread; i++) r.plane = take(&s, u.strip * u.line);
  r.used = s.used;
  return r;
}

static void unfolded_forward(const convolution *c, float *base) {
  unfold_room at = unfold_room_of(c, 0, base, omp_get_thread_num());
  unfolding u = unfolding_of(c);
  long out = c->w_out / c->groups, n = c->height * c->width * c->batch;
  const float *packed = c->packed;
  if (!packed) {
    pack_a(c->groups, out, u.rows, (operand){c->weight, u.full_row, 1, out * u.full_row}, at.space);
    packed = at.space;
  }
  for (long first = 0; first < c->out_height; first += u.strip) {
    long end = min_of(first + u.strip, c->out_height), count = (end - first) * u.line;
#pragma omp for schedule(static)
    for (long r = 0; r < c->groups * u.rows; r++) {
      float *panels = at.columns + r / u.rows * columns_size(count, u.rows);
      if (!u.direct) unfold(c, r, first, end, at.plane, (float *)c->x, 0);
      scatter(u.direct ? c->x + r * n + first * u.line : at.plane, count, r % u.rows, u.rows, panels);
    }
    const float *residual = c->residual ? c->residual + first * u.line : NULL;
    target t = {c->y + first * u.line, u.pixels, 0, c->activation == RELU, c->bias, residual, out * u.pixels};
    multiply(c->groups, out, count, u.rows, packed, at.columns, t);
    if (c->activation <= RELU) continue;
#pragma omp for schedule(static)
    for (long o = 0; o < c->w_out; o++) {
      float *line = c->y + o * u.pixels + first * u.line;
      FOR_KIND(c->activation, for (long i = 0; i < count; i += LANES)
                                  store_part(line + i, activated(load_part(line + i, count - i), KIND), count - i))
    }
  }
}

/* x itself is the columns. */
static void direct_backward(const convolution *c, float *base) {
  unfold_room at = unfold_room_of(c, 1, base, omp_get_thread_num());
  unfolding u = unfolding_of(c);
  long out = c->w_out / c->groups, n = u.pixels;
  if (c->d_weight)
    gemm(c->groups, out, u.rows, n, (operand){c->dy, n, 1, out * n}, (operand){c->x, n, 1, u.rows * n},
         (target){.c = c->d_weight, .stride = u.full_row, .plane = out * u.full_row, .add = c->add_weight},
         at.space);
  if (c->dx)
    gemm(c->groups, u.rows, n, out, (operand){c->weight, 1, u.full_row, out * u.full_row},
         (operand){c->dy, 1, n, out * n},
         (target){.c = c->dx, .stride = n, .plane = u.rows * n, .add = c->add_x}, at.space);
}

static void unfolded_backward(const convolution *c, float *base) {
  unfold_room at = unfold_room_of(c, 1, base, omp_get_thread_num());
  unfolding u = unfolding_of(c);
  long out = c->w_out / c->groups, taps = c->kernel[0] * c->kernel[1];
  for (long first = 0; first < c->out_height; first += u.strip) {
    long end = min_of(first + u.strip, c->out_height), count = (end - first) * u.line;
    operand dy = {c->dy + first * u.line, u.pixels, 1, out * u.pixels};
    if (c->d_weight) {
#pragma omp for schedule(static)
      for (long r = 0; r < c->groups * u.rows; r++)
        unfold(c, r, first, end, at.columns + r * count, (float *)c->x, 0);
      gemm(c->groups, out, u.rows, count, dy, (operand){at.columns, count, 1, u.rows * count},
           (target){.c = c->d_weight, .stride = u.full_row, .plane = out * u.full_row,
                    .add = first || c->add_weight}, at.space);
    }
    if (!c->dx) continue;
    /* the columns have been used: their own gradient takes their place */
    gemm(c->groups, u.rows, count, out, (operand){c->weight, 1, u.full_row, out * u.full_row},
         (operand){dy.p, 1, u.pixels, dy.plane},
         (target){.c = at.columns, .stride = count, .plane = u.rows * count}, at.space);
#pragma omp for schedule(static)
    for (long i = 0; i < c->w_in; i++)
      for (long r = i * taps; r < (i + 1) * taps; r++)
        unfold(c, r, first, end, at.columns + r * count, c->dx, 1);
  }
}

static float *convolution_space(const convolution *c, int backward) {
  long last = threads - 1;
  return workspace(is_winograd(c) ? winograd_room_of(c, backward, NULL, last).used
                                  : unfold_room_of(c, backward, NULL, last).used);
}

void convolution_forward(convolution *c) {
  complete_convolution(c);
  float *base = convolution_space(c, 0);
#pragma omp parallel num_threads(threads)
  if (is_winograd(c)) winograd_forward(c, base);
  else unfolded_forward(c, base);
}

void convolution_backward(convolution *c) {
  complete_convolution(c);
  float *base = convolution_space(c, 1);
  unfolding u = unfolding_of(c);
  int direct = u.direct && !is_winograd(c);
#pragma omp parallel num_threads(threads)
  {
    zero_outside(c->d_weight, c->add_weight, c->w_out, u.rows, c->full_out, u.full_row);
    zero_outside(c->d_bias, c->add_bias, c->w_out, 1, c->full_out, 1);
    if (!direct) zero_outside(c->dx, c->add_x, 0, 0, c->w_in, c->height * c->width * c->batch);
    if (c->d_bias)
#pragma omp for schedule(static)
      for (long o = 0; o < c->w_out; o++) {
        float sum = sums_of(c->dy + o * u.pixels, 0, NULL, u.pixels).plain;
        c->d_bias[o] = sum + (c->add_bias ? c->d_bias[o] : 0);
      }
#pragma omp barrier
    if (is_winograd(c)) winograd_backward(c, base);
    else if (direct) direct_backward(c, base);
    else unfolded_backward(c, base);
  }
}

/* Floats of the weight packed for inference, and the packing. */
long convolution_packed_size(convolution *c) {
  complete_convolution(c);
  unfolding u = unfolding_of(c);
  return is_winograd(c) ? PLANES * packed_size(c->w_out, c->w_in)
                        : c->groups * packed_size(c->w_out / c->groups, u.rows);
}
void pack_convolution(convolution *c, float *packed) {
  complete_convolution(c);
  unfolding u = unfolding_of(c);
  long out = c->w_out / c->groups;
  if (!is_winograd(c)) {
    pack_a(c->groups, out, u.rows, (operand){c->weight, u.full_row, 1, out * u.full_row}, packed);
    return;
  }
  winograd_room at = winograd_room_of(c, 0, convolution_space(c, 0), 0);
  kernels_in(c, at.kernels, at.lines);
  pack_a(PLANES, c->w_out, c->w_in, (operand){at.kernels, c->w_in, 1, c->w_out * c->w_in}, packed);
}
