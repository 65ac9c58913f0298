/* Max-pooling 3x3, stride 2, pad 1 of one channel. Padding never wins; NaN does. Eight images at a
 * time: the batch is the only contiguous run of a strided window, and it is often just eight. */
typedef float float8 __attribute__((vector_size(32)));
typedef int int8 __attribute__((vector_size(32)));
typedef unsigned char byte8 __attribute__((vector_size(8)));

/* Adds `count` (1 to 8) outputs at window (top, left) to y; winner: each one's first maximum, tap 0 to 8. */
INLINE void pool_block(long height, long width, long batch, long top, long left, const float *x,
                       float *y, unsigned char *winner, const long count) {
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
  memcpy(&add, y, sizeof(float) * count);
  best += add;
  memcpy(y, &best, sizeof(float) * count);
  byte8 bytes = __builtin_convertvector(tap_of, byte8);
  if (winner) memcpy(winner, &bytes, count);
}

/* y = the pooled plane x (height, width, batch), plus y. winner: NULL or as many bytes as y. */
static void pool_forward(long height, long width, long batch, const float *x, float *y,
                         unsigned char *winner) {
  long rows = (height + 1) / 2, columns = (width + 1) / 2, out = 0;
  for (long r = 0; r < rows; r++)
    for (long q = 0; q < columns; q++, out += batch)
      for (long i = 0; i < batch; i += 8) {
        unsigned char *kept = winner ? winner + out + i : NULL;
        long top = r * 2 - 1, left = q * 2 - 1;
        if (i + 8 <= batch)
          pool_block(height, width, batch, top, left, x + i, y + out + i, kept, 8);
        else
          pool_block(height, width, batch, top, left, x + i, y + out + i, kept, batch - i);
      }
}

/* dx = dy where the window's maximum came from: each input asks the windows that hold it, rows
 * [y0, y1] and columns [x0, x1]. */
INLINE void pool_block_backward(long columns, long batch, long at, long column, long y1, long x1,
                                const float *dy, const unsigned char *winner, float *dx,
                                const long count) {
  float8 sum = {0};
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

static void pool_backward(long height, long width, long batch, const float *dy,
                          const unsigned char *winner, float *dx) {
  long rows = (height + 1) / 2, columns = (width + 1) / 2;
  for (long r = 0; r < height; r++)
    for (long q = 0; q < width; q++, dx += batch)
      for (long i = 0; i < batch; i += 8) {
        long y1 = min_of((r + 1) / 2, rows - 1), x1 = min_of((q + 1) / 2, columns - 1);
        if (i + 8 <= batch)
          pool_block_backward(columns, batch, r, q, y1, x1, dy + i, winner + i, dx + i, 8);
        else
          pool_block_backward(columns, batch, r, q, y1, x1, dy + i, winner + i, dx + i, batch - i);
      }
}
