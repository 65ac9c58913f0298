/* Batch normalization outside a block: y = activation(BN(z) + residual), channel by channel. */

/* layout.NormalizationStruct has the same fields; `normalization_fields` lists them. */
typedef struct {
  long channels, full, pixels;              /* active, of gamma and beta; floats of a channel */
  long fixed, activation;                   /* whether mean and variance are given; of activations.h */
  long add_z, add_residual, add_gamma, add_beta;
  double eps, decay;
  const float *z, *gamma, *beta, *residual; /* residual: as z, or NULL */
  float *mean, *variance;                   /* (channels), of the batch, biased */
  float *running_mean, *running_variance;   /* what follows the batch, or NULL */
  const float *dy;
  float *y, *dz, *d_residual, *d_gamma, *d_beta; /* gradients that are not wanted: NULL */
} normalization;

typedef struct { float mean, scale, shift, inverse; } affine_of_channel;
static affine_of_channel channel_of(const normalization *b, long c) {
  float inverse = 1 / sqrt(b->variance[c] + b->eps);
  return (affine_of_channel){b->mean[c], b->gamma[c] * inverse, b->beta[c], inverse};
}

/* What the activation sees of values i to i + LANES. */
INLINE vec seen_by(affine_of_channel a, const float *z, const float *residual, long i, long count) {
  vec value = (load_part(z + i, count) - a.mean) * a.scale + a.shift;
  return residual ? value + load_part(residual + i, count) : value;
}

void normalization_forward(const normalization *b) {
  long n = b->pixels;
  int tracked = b->running_mean != NULL;
#pragma omp parallel for schedule(static) num_threads(threads)
  for (long c = 0; c < b->channels; c++) {
    if (!b->fixed)
      batch_statistics(b->z + c * n, n, b->decay, b->mean + c, b->variance + c,
                       tracked ? b->running_mean + c : NULL, tracked ? b->running_variance + c : NULL);
    affine_of_channel a = channel_of(b, c);
    const float *z = b->z + c * n, *residual = b->residual ? b->residual + c * n : NULL;
    float *y = b->y + c * n;
    FOR_KIND(b->activation, for (long i = 0; i < n; i += LANES)
                                store_part(y + i, activated(seen_by(a, z, residual, i, n - i), KIND), n - i))
  }
}

/* Gradient of what the activation saw, into `to` (n). */
static void before_activation(const normalization *b, long c, affine_of_channel a, float *to) {
  long n = b->pixels;
  const float *z = b->z + c * n, *residual = b->residual ? b->residual + c * n : NULL, *dy = b->dy + c * n;
  FOR_KIND(b->activation, for (long i = 0; i < n; i += LANES) {
    vec g = load_part(dy + i, n - i);
    if (KIND != NONE) g *= slope_of(seen_by(a, z, residual, i, n - i), KIND);
    store_part(to + i, g, n - i);
  })
}

void normalization_backward(const normalization *b) {
  long n = b->pixels, own = round_up(n, LANES);
  float *base = workspace(threads * own);
#pragma omp parallel num_threads(threads)
  {
    zero_outside(b->d_gamma, b->add_gamma, b->channels, 1, b->full, 1);
    zero_outside(b->d_beta, b->add_beta, b->channels, 1, b->full, 1);
    float *g = base + omp_get_thread_num() * own;
#pragma omp for schedule(static)
    for (long c = 0; c < b->channels; c++) {
      affine_of_channel a = channel_of(b, c);
      const float *z = b->z + c * n;
      before_activation(b, c, a, g);
      if (b->d_residual) {
        float *to = b->d_residual + c * n;
        if (b->add_residual) for (long i = 0; i < n; i++) to[i] += g[i];
        else memcpy(to, g, sizeof(float) * n);
      }
      sums s = sums_of(z, a.mean, g, n);
      if (b->d_gamma) b->d_gamma[c] = s.product * a.inverse + (b->add_gamma ? b->d_gamma[c] : 0);
      if (b->d_beta) b->d_beta[c] = s.plain + (b->add_beta ? b->d_beta[c] : 0);
      if (!b->dz) continue;
      float shift = b->fixed ? 0 : s.plain / n;
      float slope = b->fixed ? 0 : s.product / n * a.inverse * a.inverse;
      float *dz = b->dz + c * n;
      if (b->add_z)
        for (long i = 0; i < n; i++) dz[i] += (g[i] - shift - (z[i] - a.mean) * slope) * a.scale;
      else
        for (long i = 0; i < n; i++) dz[i] = (g[i] - shift - (z[i] - a.mean) * slope) * a.scale;
    }
  }
}
