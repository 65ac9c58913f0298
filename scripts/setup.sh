#!/usr/bin/env bash
# Makes .venv with everything in requirements.txt and requirements-dev.txt, an MPI where the machine
# has none, and the project itself, in place. Quick and safe to run again; no root needed.
#   OFA_PYTHON        interpreter to use: a path, or a version such as 3.9 (default: 3.10, 3.9, 3.8)
#   OFA_VENV          folder of the environment                    (default: .venv)
#   OFA_REQUIREMENTS  requirements file                            (default: requirements.txt)
#   OFA_ALONE         not empty: that file's packages alone, none of the rest (the documentation)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

venv=${OFA_VENV:-.venv}
requirements=${OFA_REQUIREMENTS:-requirements.txt}
alone=${OFA_ALONE:-}
wanted=${OFA_PYTHON:-}
stamp=$venv/nnabla_ofa.stamp     # written last: an environment without it is half made
mark=$venv/nnabla_ofa.mark       # written first: this environment is ours to replace
uv_pin=uv==0.13.8                # runs on Python 3.8 and later

fail() { printf 'setup: %s\n' "$*" >&2; exit 1; }

wanted_path() { # the interpreter that OFA_PYTHON asks for; nothing when it asks for none
    case $wanted in
        "") ;;
        3.8 | 3.9 | 3.10) scripts/find_python.sh "$wanted" || true ;;
        *)
            local version
            version=$("$wanted" -c 'import sys; print("%d.%d" % sys.version_info[:2])') ||
                fail "OFA_PYTHON=$wanted does not run: give the path of a CPython 3.8, 3.9 or 3.10"
            case $version in
                3.8 | 3.9 | 3.10) ;;
                *) fail "OFA_PYTHON=$wanted is Python $version; NNabla needs 3.8, 3.9 or 3.10" ;;
            esac
            echo "$wanted"
            ;;
    esac
}

fingerprint() { # changes with anything that the environment is made from
    local files=(requirements*.txt)
    [ -z "$alone" ] || files=("$requirements")
    { pwd; echo "$venv $requirements"; cat scripts/setup.sh "${files[@]}"; } | sha256sum
}

project_fingerprint() { # changes with what pip wrote down of the project; its code is used in place
    cat pyproject.toml setup.py nnabla_ofa/version.py | sha256sum
}

ready() { # is the environment whole, and made from what we have now?
    [ -f "$stamp" ] && [ "$(head -n 1 "$stamp")" = "$(fingerprint)" ] || return 1
    [ -z "$wanted" ] || [ "$(sed -n 2p "$stamp")" = "$wanted" ] || return 1
    [ -n "$alone" ] || [ -x "$venv/bin/mpirun" ] || system_mpirun >/dev/null || return 1
    "$venv/bin/python" -c '' 2>/dev/null
}

project_ready() { # does the environment describe the project as pyproject.toml does now?
    [ -n "$alone" ] || [ "$(sed -n 3p "$stamp")" = "$(project_fingerprint)" ]
}

fetch_uv() { # prints the path of a uv from PyPI, in a throw-away environment
    local python pyenv=${PYENV_ROOT:-${HOME:-}/.pyenv}
    for python in python3 /usr/bin/python3 "$pyenv"/versions/3.*/bin/python; do
        python=$( (cd / && "$python" -c 'import sys; print(sys.executable)
sys.exit(sys.version_info < (3, 8))') 2>/dev/null) || continue
        if "$python" -m venv "$scratch/uv" >/dev/null 2>&1; then
            "$scratch/uv/bin/python" -m pip install -qq "$uv_pin" >&2 || continue
        else # Debian's python3 without python3-venv may still have python3-pip
            "$python" -m pip install --target "$scratch/uv" "$uv_pin" >/dev/null 2>&1 || continue
        fi
        echo "$scratch/uv/bin/uv"
        return
    done
    return 1
}

choose() { # sets python (empty: uv is to fetch one) and uv (empty: pip serves)
    python=$(wanted_path)
    [ -n "$python" ] || [ -n "$wanted" ] || python=$(scripts/find_python.sh 3.10 3.9 3.8) || true
    uv=$(command -v uv) || uv=
    # Debian and Ubuntu split ensurepip off into python3-venv; uv makes environments without it.
    ensurepip=
    if [ -n "$python" ] && "$python" -c 'import ensurepip' 2>/dev/null; then
        ensurepip=yes
    elif [ -z "$uv" ]; then
        uv=$(fetch_uv) || no_python
    fi
}

make_environment() {
    if [ -n "$ensurepip" ]; then
        "$python" -m venv "$venv"
    else
        "$uv" venv --quiet --no-project --allow-existing --seed \
            --python "${python:-${wanted:-3.10}}" "$venv" || no_python
    fi
}

no_python() {
    fail "no usable CPython ${wanted:-3.10, 3.9 or 3.8} here, and none could be downloaded.
  Do one of these, then run the same command again:
    apt-get install python3-venv    Debian, Ubuntu: then their python3 can fetch one
    pyenv install 3.10              or: uv python install 3.10
    OFA_PYTHON=/path/to/python3.10  for one that is installed elsewhere, conda's for example"
}

system_mpirun() { # prints the mpirun of the machine, not one of an environment that is active now
    (
        [ -z "${VIRTUAL_ENV:-}" ] || PATH=${PATH//"$VIRTUAL_ENV/bin:"/}
        command -v mpirun
    )
}

install() { # uv where there is one (seconds), else, or when uv cannot reach its index, pip
    if [ -n "$uv" ] && "$uv" pip install --quiet --python "$venv/bin/python" "$@"; then
        installer=uv
    else
        # not compiled here, as by uv: Python compiles the small part that is imported, when it is
        "$venv/bin/python" -m pip install -qq --disable-pip-version-check --no-compile "$@"
        installer=pip
    fi
}

install_mpi() { # the machine's own where mpi4py can use it, else one as a wheel; sets mpi
    if ! mpi=$(system_mpirun) || ! "$venv/bin/python" -c 'from mpi4py import MPI' 2>/dev/null; then
        install -r requirements-mpi.txt || fail "installing requirements-mpi.txt failed: see above"
        mpi=$venv/bin/mpirun
    fi
}

install_project() { # in place: edits take effect at once. Built by the pinned setuptools, no download
    install --no-deps --no-build-isolation --editable . ||
        fail "installing the project itself failed: see above"
}

write_stamp() {
    printf '%s\n%s\n%s\n' "$(fingerprint)" "$wanted" "$(project_fingerprint)" >"$stamp.new"
    mv "$stamp.new" "$stamp"
}

[ -f "$requirements" ] || fail "OFA_REQUIREMENTS=$requirements: no such file"
case $wanted in
    "" | 3.8 | 3.9 | 3.10 | */*) ;;
    *) fail "OFA_PYTHON=$wanted: give the path of an interpreter, or 3.8, 3.9 or 3.10" ;;
esac

exec 9>"${venv%/}.lock"
flock --nonblock 9 || { echo "setup: waiting for another set-up of $venv"; flock 9; }
if ready; then
    if project_ready; then exit 0; fi
    uv=$(command -v uv) || uv=
    wanted=$(sed -n 2p "$stamp") # as it was made
    install_project
    write_stamp
    echo "setup: installed the project anew into $venv"
    exit 0
fi

if [ -n "$(ls -A "$venv" 2>/dev/null)" ] && ! [ -f "$mark" ] && ! [ -f "$venv/pyvenv.cfg" ]; then
    fail "OFA_VENV=$venv holds something else than a Python environment: name another folder"
fi
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
choose
if [ -e "$venv" ]; then
    echo "setup: making $venv anew, it was unfinished or of other requirements (a minute or two)"
else
    echo "setup: making $venv (a minute or two)"
fi
rm -rf "$venv"
mkdir -p "$venv"
touch "$mark"
make_environment
if [ -n "$alone" ]; then
    install -r "$requirements" || fail "installing $requirements failed: see above, then run it again"
    mpi=none
else
    install -r "$requirements" -r requirements-dev.txt ||
        fail "installing $requirements and requirements-dev.txt failed: see above, then run it again"
    install_mpi
    install_project
fi
write_stamp
echo "setup: $venv has $("$venv/bin/python" -V) (${python:-fetched by uv})," \
    "$requirements (by $installer), MPI $mpi"
