/* The kernels under AddressSanitizer, every array an allocation of its exact size; `make asan`.
 * NNabla is absent: its caching allocator would hide what is written behind an array. The numbers
 * are the Python tests' business. */
#include "../../nnabla_ofa/kernels/kernels.c"
#include <stdio.h>

static void *arrays[256];
static long count;

static float *new_array(long floats) {
  float *p = arrays[count++] = malloc(sizeof(float) * floats);
  for (long i = 0; i < floats; i++) p[i] = (i * 7919 % 101 - 50) / 50.0f;
  return p;
}

static layer new_layer(long in, long out, long spare, long kernel, long full, long stride, int unit,
                       int frozen) {
  long rows = unit ? in + spare : in * kernel * kernel, size = (out + spare) * rows;
  layer u = {.w_in = in, .w_out = out, .full_in = in + spare, .full_out = out + spare,
             .full_depthwise = unit ? in + spare : 0, .kernel = kernel, .full_kernel = full,
             .stride = stride, .steps = (full - kernel) / 2, .relu_in = 1};
  u.weight = new_array(size), u.gamma = new_array(u.full_out), u.beta = new_array(u.full_out);
  u.d_weight = new_array(size), u.d_gamma = new_array(u.full_out);
  u.d_beta = new_array(u.full_out);
  u.running_mean = new_array(u.full_out), u.running_variance = new_array(u.full_out);
  if (frozen) {
    float *packed = new_array(weight_size(out, rows));
    pack_weight(out, rows, u.weight, packed);
    u.weight = packed;
  }
  if (!unit) return u;
  u.depthwise = new_array(u.full_depthwise * full * full);
  u.d_depthwise = new_array(u.full_depthwise * full * full);
  for (int s = 0; s < u.steps; s++) {
    long k = full - 2 * s - 2;
    u.matrix[s] = new_array(k * k * k * k), u.d_matrix[s] = new_array(k * k * k * k);
  }
  return u;
}

/* units: 0 to 2; stride: of the skip convolution, 0 for an identity or nothing. */
static void run(long height, long width, long batch, long channels, long inner, long units,
                long kernel, long full, long stride, long skip_kernel, int frozen) {
  long spare = frozen ? 0 : 3, pool = units && stride == 2;
  layer layers[3], *next = layers;
  if (frozen) full = kernel;
  if (stride) *next++ = new_layer(channels, channels, 0, skip_kernel, skip_kernel, stride, 0, frozen);
  if (units == 2) *next++ = new_layer(channels, inner, spare, kernel, full, 1, 1, frozen);
  if (units) *next++ = new_layer(units == 2 ? inner : channels, channels, spare, kernel, full, 1, 1,
                                 frozen);
  block b = {.height = height, .width = width, .batch = batch, .skip = stride > 0,
             .count = next - layers, .pool = pool, .relu_out = !pool, .frozen = frozen,
             .eps = 1e-5, .decay = 0.9, .layers = layers};
  long floats = arrange(&b), in = channels * pixels_in(&b), out = channels * layers->pixels;
  b.x = new_array(in), b.y = new_array(out), b.dy = new_array(out), b.dx = new_array(in);
  if (!stride) b.residual = b.x, b.d_residual = b.dx;
  else if (!units) b.residual = new_array(out), b.d_residual = new_array(out);
  b.arena = new_array(floats);
  block_forward(&b);
  if (!frozen) block_backward(&b);
  while (count) free(arrays[--count]);
}

/* Depthwise layers and the functions of single values and of channels. */
static void run_outside(long height, long width, long batch, long channels, long kernel) {
  for (long stride = 1; stride <= 2; stride++) {
    depthwise_sizes d = {channels, height, width, batch, kernel, stride};
    long n = channels * height * width * batch, taps = channels * kernel * kernel;
    long out = channels * parts(height, stride) * parts(width, stride) * batch;
    float *x = new_array(n), *w = new_array(taps), *y = new_array(out), *dy = new_array(out);
    float *dx = new_array(n), *dw = new_array(taps), *s = new_array(channels * batch);
    depthwise_layer_forward(&d, x, w, NULL, 0, y), depthwise_layer_forward(&d, x, w, s, SWISH, y);
    depthwise_layer_backward(&d, x, w, dy, dx, 0, dw, 1);
    depthwise_layer_backward(&d, x, w, dy, NULL, 0, dw, 0);
    for (long kind = NONE; kind <= GELU; kind++) {
      activation_forward(n, kind, x, dx), activation_backward(n, kind, x, dx, dx, 1);
      normalization b = {.channels = channels, .full = channels, .pixels = n / channels, .activation = kind,
                         .eps = 1e-5, .z = x, .gamma = s, .beta = s, .residual = dx, .y = new_array(n),
                         .mean = new_array(channels), .variance = new_array(channels)};
      normalization_forward(&b);
      b.dy = x, b.dz = new_array(n), b.d_residual = new_array(n);
      b.d_gamma = new_array(channels), b.d_beta = new_array(channels);
      normalization_backward(&b);
    }
    scale_forward(channels, height * width, batch, x, s, dx);
    scale_backward(channels, height * width, batch, x, s, x, dx, 0, new_array(channels * batch), 0);
    mean_forward(channels, height * width, batch, x, s);
    mean_backward(channels, height * width, batch, s, dx, 1);
    int order[] = {channels - 1, 0};
    select_forward(2, n / channels, order, x, new_array(2 * n / channels));
    select_backward(channels, 2, n / channels, order, x, dx, 0);
    pooling p = {channels, height, width, batch, kernel, stride, kernel / 2, stride - 1};
    p.out_height = (height + 2 * p.pad - kernel) / stride + 1;
    p.out_width = (width + 2 * p.pad - kernel) / stride + 1;
    p.x = x, p.dx = dx, p.y = new_array(channels * p.out_height * p.out_width * batch), p.dy = p.y;
    pooling_forward(&p), pooling_backward(&p);
    while (count) free(arrays[--count]);
  }
}

static void run_convolution(long height, long width, long batch, long in, long out, long groups, long tall,
                            long wide, long stride) {
  long spare = groups == 1 ? 5 : 0;
  convolution c = {.height = height, .width = width, .batch = batch, .groups = groups, .w_in = in,
                   .w_out = out, .full_in = in + spare, .full_out = out + spare, .kernel = {tall, wide},
                   .stride = {stride, stride}, .pad = {tall / 2, wide / 2}};
  complete_convolution(&c);
  long n = in * height * width * batch, n_out = out * c.out_height * c.out_width * batch;
  long weights = c.full_out * c.full_in / groups * tall * wide;
  c.x = new_array(n), c.weight = new_array(weights), c.bias = new_array(c.full_out), c.y = new_array(n_out);
  convolution_forward(&c);
  c.dy = new_array(n_out), c.dx = new_array(n), c.d_weight = new_array(weights);
  c.d_bias = new_array(c.full_out);
  convolution_backward(&c);
  float *packed = new_array(convolution_packed_size(&c));
  pack_convolution(&c, packed);
  c.packed = packed, c.residual = new_array(n_out), c.activation = HARD_SWISH;
  convolution_forward(&c);
  while (count) free(arrays[--count]);
}

static void run_affine(long n, long in, long full, long out) {
  long add[] = {0, 1, 0};
  float *x = new_array(n * in), *w = new_array(full * out), *b = new_array(out), *y = new_array(n * out);
  affine_forward(n, in, out, x, w, b, y);
  affine_backward(n, in, full, out, x, w, y, new_array(n * in), new_array(full * out), new_array(out), add);
  while (count) free(arrays[--count]);
}

int main(void) {
  static const long images[][3] = {{1, 1, 1}, {3, 2, 7}, {8, 8, 8}, {9, 5, 3}, {40, 33, 18}};
  for (threads = 1; threads <= 3; threads++)
    for (int i = 0; i < 5; i++)
      for (int frozen = 0; frozen < 2; frozen++)
        for (long kernel = 3; kernel <= 7; kernel += 2) {
          const long *s = images[i];
          run(s[0], s[1], s[2], 17, 9, 1, kernel, 7, 0, 1, frozen);
          run(s[0], s[1], s[2], 5, 33, 2, kernel, 7, 2, 1, frozen);
          run(s[0], s[1], s[2], 18, 2, 2, kernel, kernel, 0, 1, frozen);
          if (!frozen) run_outside(s[0], s[1], s[2], 5, kernel);
          run(s[0], s[1], s[2], 15, 0, 0, 3, 3, kernel == 3 ? 1 : 2, kernel == 5 ? 1 : 3, frozen);
        }
  run(2, 2, 3, 800, 40, 2, 3, 3, 0, 1, 0); /* several runs of k */
  for (threads = 1; threads <= 3; threads++) {
    run_convolution(8, 9, 16, 19, 35, 1, 3, 3, 1), run_convolution(7, 7, 32, 300, 16, 1, 3, 3, 1);
    run_convolution(12, 5, 3, 4, 6, 1, 1, 7, 1), run_convolution(9, 8, 5, 18, 27, 9, 3, 3, 2);
    run_convolution(6, 5, 7, 33, 17, 1, 1, 1, 1), run_convolution(11, 11, 2, 3, 8, 1, 7, 7, 2);
    run_affine(3, 5, 9, 7), run_affine(65, 40, 40, 100);
  }
  float *x = new_array(33 * 50), *y = new_array(33 * 50);
  transpose(33, 50, x, y);
  while (count) free(arrays[--count]);
  free(workspace(1));
  puts("the sanitizers found nothing");
}
