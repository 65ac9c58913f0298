#!/bin/sh
# The kernels' tests with the C code under AddressSanitizer: sh tests/asan_kernels.sh [python]
# NNabla's memory cache is off, so that each array is an allocation of its own. libstdc++ comes
# along because the sanitizer looks for its exceptions at start-up. Leaks are not looked for: the
# interpreter never frees everything.
set -e
cd "$(dirname "$0")/.."
cache=$(mktemp -d)
trap 'rm -rf "$cache"' EXIT
preload="$(gcc -print-file-name=libasan.so) $(gcc -print-file-name=libstdc++.so.6)"
XDG_CACHE_HOME=$cache NNABLA_OFA_CFLAGS='-fsanitize=address -g -O1' \
ASAN_OPTIONS=detect_leaks=0 LD_PRELOAD=$preload "${1:-python}" -c '
import sys, nnabla, pytest
nnabla.prefer_cached_array(False)
sys.exit(pytest.main(["-q", "-s", "-p", "no:cacheprovider", "tests/test_kernels.py",
                      "-k", "not compiler and not compiled_once"]))'
