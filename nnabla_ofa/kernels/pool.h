/* Max-pooling 3x3, stride 2, pad 1 of one channel. Padding never wins; NaN does. Eight images at a
 * time: the batch is the only contiguous run of a strided window, and it is often just eight. */
typedef float float8 __attribute__((vector_size(32)));
typedef int int8 __attribute__((vector_size(32)));

/* `count` (1 to 8) images from `image` on of the window around (row, column). */
INLINE void pool_window(long height, long width, long batch, long row, long column, long image,
                        channel s, float *y, int *winner, const long count) {
  float8 best = (float8){0} - INFINITY, add = {0};
  int8 from = {0, 1, 2, 3, 4, 5, 6, 7}, own = from + (int)((row * width + column) * batch + image);
  for (long i = max_of(row - 1, 0); i < min_of(row + 2, height); i++)
    for (long j = max_of(column - 1, 0); j < min_of(column + 2, width); j++) {
      long at = (i * width + j) * batch + image;
      float8 value = {0};
      memcpy(&value, s.x + at, sizeof(float) * count);
      value = (value - s.mean) * s.scale + s.beta;
      int8 wins = (value > best) | (value != value);
      best = (float8)((wins & (int8)value) | (~wins & (int8)best));
      own = (wins & (from + (int)at)) | (~wins & own);
    }
  memcpy(&add, y + image, sizeof(float) * count);
  best += add;
  memcpy(y + image, &best, sizeof(float) * count);
  if (winner) memcpy(winner + image, &own, sizeof(int) * count);
}

/* y (ceil(height / 2), ceil(width / 2), batch) += the pooled channel; winner, unless NULL: which of
 * the channel's values each maximum is, the first of equal ones. */
static void pool(long height, long width, long batch, channel s, float *y, int *winner) {
  for (long r = 0; r < height; r += 2)
    for (long q = 0; q < width; q += 2, y += batch, winner += winner ? batch : 0)
      for (long i = 0; i < batch; i += 8)
        if (i + 8 <= batch) pool_window(height, width, batch, r, q, i, s, y, winner, 8);
        else pool_window(height, width, batch, r, q, i, s, y, winner, batch - i);
}
