#!/usr/bin/env bash
# Installs what is missing, then runs every test: scripts/test.sh [arguments of `cargo xtask test`]
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

scripts/setup.sh
# shellcheck source=scripts/env.sh
source scripts/env.sh

if [[ $EUID -eq 0 ]]; then
    exec cargo xtask test "$@"
fi

# The tests make network namespaces and load BPF programs. HOME stays, for the toolchain in it; what root writes
# into target/ is given back, so that a plain `cargo build` still works afterwards.
echo "test: needs root for network namespaces and BPF, going on with sudo"
cargo fetch --quiet --locked
status=0
sudo env "PATH=$PATH" "HOME=$HOME" cargo xtask test "$@" || status=$?
sudo chown -R "$(id -u):$(id -g)" target
exit "$status"
