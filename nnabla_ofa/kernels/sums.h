/* Batch normalization of one channel: its statistics, its gradients, and the sums behind them. */

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

/* Mean and biased variance of n values; the running ones, unless NULL, move towards those of the batch.
 * Returns the variance in double precision. */
static double batch_statistics(const float *z, long n, double decay, float *mean, float *variance,
                             float *running_mean, float *running_variance) {
  float centre = sums_of(z, 0, NULL, n).plain / n;
  double spread = sums_of(z, centre, NULL, n).product / n;
  *mean = centre, *variance = spread;
  if (!running_mean) return spread;
  double unbiased = spread * n / max_of(n - 1, 1);
  *running_mean = decay * *running_mean + (1 - decay) * centre;
  *running_variance = decay * *running_variance + (1 - decay) * unbiased;
  return spread;
}
