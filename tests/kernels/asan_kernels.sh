#!/bin/sh
# The kernels of each vector width under AddressSanitizer and UBSan: sh tests/kernels/asan_kernels.sh
# A width that this CPU lacks is built, but not run.
set -e
cd "$(dirname "$0")/../.."
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
for width in avx512f avx2 portable; do
  case $width in
    avx512f) flags="-mavx512f -mfma -mprefer-vector-width=512" ;;
    avx2) flags="-mavx2 -mfma" ;;
    *) flags="" ;;
  esac
  # shellcheck disable=SC2086 # several flags
  gcc -std=gnu11 -O1 -g -fopenmp $flags -fsanitize=address,undefined \
    -fno-sanitize-recover=all tests/kernels/asan_kernels.c -lm -o "$folder/kernels"
  if [ $width = portable ] || grep -qw $width /proc/cpuinfo; then
    echo "$width: $("$folder/kernels")"
  else
    echo "$width: built, not run"
  fi
done
