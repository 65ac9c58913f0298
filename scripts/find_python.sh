#!/usr/bin/env bash
# find_python.sh VERSION... prints the path of the first usable CPython of these versions, in this
# order; exit status 1 if there is none. Usable: it runs, is a 64-bit CPython, and has ssl and venv.
#   scripts/find_python.sh 3.10 3.9 3.8
set -u

probe='
import platform, ssl, struct, sys, venv
if platform.python_implementation() != "CPython" or struct.calcsize("P") != 8:
    sys.exit(1)
if "%d.%d" % sys.version_info[:2] != sys.argv[1]:
    sys.exit(1)
in_venv = sys.prefix != sys.base_prefix
print(sys.base_prefix + "/bin/python" + sys.argv[1] if in_venv else sys.executable)
'

usable() { # usable VERSION INTERPRETER: prints its own path, not that of pyenv's shim or of a venv
    # Not from this folder: .python-version makes the shim fail where pyenv lacks that version.
    (cd / && "$2" -c "$probe" "$1") 2>/dev/null </dev/null
}

for version in "$@"; do
    for interpreter in "python$version" \
        "${PYENV_ROOT:-${HOME:-/nonexistent}/.pyenv}/versions/$version".*/bin/python \
        python3 /usr/bin/python3 "/usr/bin/python$version" "/usr/local/bin/python$version"; do
        usable "$version" "$interpreter" && exit 0
    done
done
exit 1
