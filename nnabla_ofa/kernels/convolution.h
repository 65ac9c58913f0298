/* A convolution outside a block: any kernel, stride, padding and groups. Elastic in its widths where it
 * has one group: active channels are the first ones.
 *
 *   y = activation(convolution(x) + bias + residual), the last two and the activation for inference alone
 *
 * Columns of unfolded input are multiplied, a strip of output rows at a time; winograd.h has another way. */

/* Of a group: rows of unfolded columns, how many of them at a time, floats of a row of the weight. Of the
 * output: floats of a row, of a channel; rows at a time. Whether x itself is the columns. */
typedef struct { long rows, run, full_row, line, pixels, strip, direct; } unfolding;

static unfolding unfolding_of(const convolution *c) {
  long taps = c->kernel[0] * c->kernel[1];
  unfolding u = {.rows = c->w_in / c->groups * taps, .full_row = c->full_in / c->groups * taps,
                 .line = c->out_width * c->batch};
  u.pixels = c->out_height * u.line;
  u.run = parts(u.rows, parts(u.rows, RUN_DEPTH));
  u.strip = min_of(max_of(COLUMNS / (u.run * c->groups * u.line), 1), c->out_height);
  u.direct = taps == 1 && c->stride[0] == 1 && c->stride[1] == 1 && !c->pad[0] && !c->pad[1];
  return u;
}

/* Floats of the packed weight, and the packing: a run of its columns after the other. */
static long packed_weight_size(const convolution *c, unfolding u) {
  return parts(u.rows, u.run) * c->groups * packed_size(c->w_out / c->groups, u.run);
}
static void pack_weights(const convolution *c, unfolding u, float *packed) {
  long out = c->w_out / c->groups;
  for (long k = 0; k < u.rows; k += u.run, packed += c->groups * packed_size(out, u.run))
    pack_a(c->groups, out, min_of(u.run, u.rows - k),
           (operand){c->weight + k, u.full_row, 1, out * u.full_row}, packed);
}

typedef struct { float *columns, *space, *plane; long used; } unfold_room;

static unfold_room unfold_room_of(const convolution *c, int backward, float *base, int thread) {
  space s = {base, 0};
  unfolding u = unfolding_of(c);
  unfold_room r = {NULL};
  long out = c->w_out / c->groups, count = u.direct && backward ? 0 : u.strip * u.line;
  r.columns = take(&s, c->groups * u.run * round_up(count, TILE_COLUMNS));
  r.space = take(&s, backward ? gemm_space(c->groups, max_of(u.rows, out), max_of(u.pixels, out))
                              : packed_weight_size(c, u));
  for (int i = 0; i <= thread; i++) r.plane = take(&s, u.strip * u.line);
  r.used = s.used;
  return r;
}

static void activate_rows(const convolution *c, unfolding u, long first, long count) {
#pragma omp for schedule(static)
  for (long o = 0; o < c->w_out; o++) {
    float *line = c->y + o * u.pixels + first * u.line;
    FOR_KIND(c->activation, for (long i = 0; i < count; i += LANES)
                                store_part(line + i, activated(load_part(line + i, count - i), KIND),
                                           count - i))
  }
}

static void unfolded_forward(const convolution *c, float *base) {
  unfold_room at = unfold_room_of(c, 0, base, omp_get_thread_num());
  unfolding u = unfolding_of(c);
  long out = c->w_out / c->groups, n = c->height * c->width * c->batch;
  if (!c->packed) pack_weights(c, u, at.space);
  for (long first = 0; first < c->out_height; first += u.strip) {
    long end = min_of(first + u.strip, c->out_height), count = (end - first) * u.line;
    const float *packed = c->packed ? c->packed : at.space;
    target t = {.c = c->y + first * u.line, .stride = u.pixels, .plane = out * u.pixels};
    for (long k = 0; k < u.rows; k += u.run, packed += c->groups * packed_size(out, u.run), t.add = 1) {
      long run = min_of(u.run, u.rows - k);
#pragma omp for schedule(static)
      for (long i = 0; i < c->groups * run; i++) {
        long row = i / run * u.rows + k + i % run;
        if (!u.direct) unfold(c, row, first, end, at.plane, (float *)c->x, 0);
        scatter(u.direct ? c->x + row * n + first * u.line : at.plane, count, i % run, run,
                at.columns + i / run * columns_size(count, run));
      }
      if (k + run == u.rows) {
        t.bias = c->bias, t.relu = c->activation == RELU;
        t.residual = c->residual ? c->residual + first * u.line : NULL;
      }
      multiply(c->groups, out, count, run, packed, at.columns, t);
    }
    if (c->activation > RELU) activate_rows(c, u, first, count);
  }
}

/* x itself is the columns: as many at a time as both products find in cache. */
static void direct_backward(const convolution *c, float *base) {
  unfold_room at = unfold_room_of(c, 1, base, omp_get_thread_num());
  unfolding u = unfolding_of(c);
  long out = c->w_out / c->groups, n = u.pixels;
  long step = max_of(COLUMNS / ((u.rows + out) * c->groups) / LANES * LANES, 1024);
  for (long first = 0; first < n; first += step) {
    long count = min_of(step, n - first);
    const float *dy = c->dy + first;
    if (c->d_weight)
      gemm(c->groups, out, u.rows, count, (operand){dy, n, 1, out * n},
           (operand){c->x + first, n, 1, u.rows * n},
           (target){.c = c->d_weight, .stride = u.full_row, .plane = out * u.full_row,
                    .add = first || c->add_weight}, at.space);
    if (c->dx)
      gemm(c->groups, u.rows, count, out, (operand){c->weight, 1, u.full_row, out * u.full_row},
           (operand){dy, 1, n, out * n},
           (target){.c = c->dx + first, .stride = n, .plane = u.rows * n, .add = c->add_x}, at.space);
  }
}

/* Gradients of rows [k, k + run) of each group's columns, over output rows [first, end). */
static void unfolded_run_backward(const convolution *c, const unfold_room *at, unfolding u, long first,
                                  long end, long k) {
  long out = c->w_out / c->groups, count = (end - first) * u.line, run = min_of(u.run, u.rows - k);
  long taps = c->kernel[0] * c->kernel[1];
  operand dy = {c->dy + first * u.line, u.pixels, 1, out * u.pixels};
  if (c->d_weight) {
#pragma omp for schedule(static)
    for (long i = 0; i < c->groups * run; i++)
      unfold(c, i / run * u.rows + k + i % run, first, end, at->columns + i * count, (float *)c->x, 0);
    gemm(c->groups, out, run, count, dy, (operand){at->columns, count, 1, run * count},
         (target){.c = c->d_weight + k, .stride = u.full_row, .plane = out * u.full_row,
                  .add = first || c->add_weight}, at->space);
  }
  if (!c->dx) return;
  /* the columns have been used: their own gradient takes their place */
  gemm(c->groups, run, count, out, (operand){c->weight + k, 1, u.full_row, out * u.full_row},
       (operand){dy.p, 1, u.pixels, dy.plane},
       (target){.c = at->columns, .stride = count, .plane = run * count}, at->space);
  long channels = parts(k + run, taps) - k / taps; /* of a group, those whose taps are in the run */
#pragma omp for schedule(static)
  for (long i = 0; i < c->groups * channels; i++) {
    long group = i / channels, channel = k / taps + i % channels;
    for (long r = max_of(channel * taps, k); r < min_of((channel + 1) * taps, k + run); r++)
      unfold(c, group * u.rows + r, first, end, at->columns + (group * run + r - k) * count, c->dx, 1);
  }
}

static void unfolded_backward(const convolution *c, float *base) {
  unfold_room at = unfold_room_of(c, 1, base, omp_get_thread_num());
  unfolding u = unfolding_of(c);
  for (long first = 0; first < c->out_height; first += u.strip)
    for (long k = 0; k < u.rows; k += u.run)
      unfolded_run_backward(c, &at, u, first, min_of(first + u.strip, c->out_height), k);
}

static float *convolution_space(const convolution *c, int backward) {
  long last = threads - 1;
  return workspace(is_winograd(c) ? winograd_room_of(c, backward, NULL, last).used
                                  : unfold_room_of(c, backward, NULL, last).used);
}

void convolution_forward(const convolution *c) {
  float *base = convolution_space(c, 0);
#pragma omp parallel num_threads(threads)
  if (is_winograd(c)) winograd_forward(c, base);
  else unfolded_forward(c, base);
}

void convolution_backward(const convolution *c) {
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
long convolution_packed_size(const convolution *c) {
  unfolding u = unfolding_of(c);
  return is_winograd(c) ? PLANES * packed_size(c->w_out, c->w_in)
                        : packed_weight_size(c, u);
}
void pack_convolution(const convolution *c, float *packed) {
  unfolding u = unfolding_of(c);
  if (!is_winograd(c)) {
    pack_weights(c, u, packed);
    return;
  }
  winograd_room at = winograd_room_of(c, 0, convolution_space(c, 0), 0);
  kernels_in(c, at.kernels, at.lines);
  pack_a(PLANES, c->w_out, c->w_in, (operand){at.kernels, c->w_in, 1, c->w_out * c->w_in}, packed);
}
