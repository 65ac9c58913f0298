/* What a convolution is, and its unfolded input: a row for each channel and tap. */

enum { COLUMNS = 128 * 1024 }; /* floats of unfolded input at a time: they stay in L2 */

/* convolution.ConvolutionStruct has the same fields; `convolution_fields` lists them for the comparison. */
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

/* The part of an output pixel's window that lies in the image: rows, columns, and the tap of the first. */
typedef struct { long top, bottom, left, right, tap; } window;
static window window_of(long height, long width, long kernel, long stride, long pad, long row, long column) {
  long y = row * stride - pad, x = column * stride - pad;
  window w = {max_of(y, 0), min_of(y + kernel, height), max_of(x, 0), min_of(x + kernel, width), 0};
  w.tap = (w.top - y) * kernel + w.left - x;
  return w;
}
