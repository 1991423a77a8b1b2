#!/usr/bin/env bash
# Brings the virtual environment in .venv to the pins in requirements/, installing what is missing.
# `scripts/setup.sh`         Python packages, and the workspace's own packages as editable installs
# `scripts/setup.sh node`    the npm packages of tests/conformance (used by `make conformance bench`)
# `scripts/setup.sh web`     the npm packages of packages/browser and demos/web
# `scripts/setup.sh browser` a Chromium with its driver, for the tests that need a real browser
# `scripts/setup.sh uv ...`  runs uv with these arguments, wherever it was found
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() { printf '==> %s\n' "$*" >&2; }
give_up() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

debian_install() {
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || return 1
    say "installing with apt-get: $*"
    apt-get update -qq >&2 && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$@" >&2
}

find_python() {
    local candidate
    for candidate in python3 python3.14 python3.13 python3.12 python3.11; do
        if "$candidate" -c 'import sys; raise SystemExit(sys.version_info < (3, 11))' 2>/dev/null; then
            PYTHON=$candidate
            return 0
        fi
    done
    return 1
}

need_python() {
    find_python && return
    debian_install python3 python3-venv && find_python && return
    give_up "Python 3.11 or newer is needed and was not found: install it and run this again"
}

need_uv() {
    # A name on PATH may be a dead shim, so each candidate has to answer.
    UV=(uv)
    "${UV[@]}" --version >/dev/null 2>&1 && return
    need_python
    UV=("$PYTHON" -m uv)
    "${UV[@]}" --version >/dev/null 2>&1 && return
    # Not into the user's Python: a private environment that `make clean` leaves alone.
    UV=(.cache/uv/bin/python -m uv)
    "${UV[@]}" --version >/dev/null 2>&1 && return
    say "uv is missing: installing it into .cache/uv"
    if ! "$PYTHON" -m venv --clear .cache/uv >/dev/null 2>&1; then
        debian_install python3-venv >/dev/null && "$PYTHON" -m venv --clear .cache/uv
    fi
    .cache/uv/bin/python -m pip install --quiet --disable-pip-version-check \
        --require-hashes -r requirements/uv.txt ||
        give_up "uv could not be installed: see the message above, or install uv yourself"
}

set_up_python() {
    need_uv
    if [ ! -x .venv/bin/python ]; then
        need_python
        "${UV[@]}" venv --quiet --python "$PYTHON" .venv
    fi
    say "installing the pinned packages into .venv"
    # Compiled once here, and not by each of the many processes that the tests start.
    "${UV[@]}" pip install --quiet --python .venv --compile-bytecode \
        --require-hashes -r requirements/dev.txt
    local editable=() package
    for package in packages/*/pyproject.toml demos/pyproject.toml; do
        editable+=(-e "${package%/pyproject.toml}")
    done
    "${UV[@]}" pip install --quiet --python .venv --no-deps \
        --build-constraint requirements/build.txt "${editable[@]}"
    touch .venv/ready
}

node_is_new_enough() {
    command -v npm >/dev/null &&
        node -e 'process.exit(Number(process.versions.node.split(".")[0]) < 20 ? 1 : 0)' 2>/dev/null
}

need_node() {
    node_is_new_enough || debian_install nodejs npm || true
    node_is_new_enough ||
        give_up "Node.js 20 or newer with npm is needed for $1: install it and run this again"
}

set_up_node() {
    need_node "the npm conformance suite"
    say "installing the npm packages of tests/conformance"
    # Nothing here needs an install script: the native parts are packages of their own.
    (cd tests/conformance && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >&2)
    touch tests/conformance/node_modules/ready
}

set_up_web() {
    need_node "the browser package and the pages of the demos"
    say "installing the npm packages of packages/browser and demos/web"
    npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >&2
    touch node_modules/ready
}

has_browser() {
    command -v chromedriver >/dev/null &&
        { command -v chromium || command -v chromium-browser || command -v google-chrome; } >/dev/null
}

set_up_browser() {
    has_browser || debian_install chromium chromium-driver || true
    if has_browser; then
        touch .venv/browser
    else
        say "no Chromium with chromedriver: tests in a browser will fail until both are installed"
    fi
}

case "${1:-python}" in
    python) set_up_python ;;
    node) set_up_node ;;
    web) set_up_web ;;
    browser) set_up_browser ;;
    uv)
        need_uv
        shift
        exec "${UV[@]}" "$@"
        ;;
    *) give_up "unknown part '$1': python, node, web, browser or uv" ;;
esac
