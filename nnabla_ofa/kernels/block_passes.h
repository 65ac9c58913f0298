/* A block's forward and backward pass. */

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

/* Floats of a packed weight (out, in), and the packing itself: pack_a() of gemm.h. */
long weight_size(long out, long in) { return packed_size(out, in); }
void pack_weight(long out, long in, const float *weight, float *packed) {
  pack_a(1, out, in, (operand){weight, in, 1}, packed);
}
