#!/usr/bin/env bash
# Installs what is missing, then shows the gateway at work, in network namespaces of its own that it removes again
# (unless --keep): scripts/demo.sh [arguments of `cargo xtask demo`]
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

if [[ $EUID -ne 0 ]]; then
    echo "demo: must be root, to make network namespaces and load BPF programs. Try: sudo scripts/demo.sh $*" >&2
    exit 1
fi

scripts/setup.sh
# shellcheck source=scripts/env.sh
source scripts/env.sh
exec cargo xtask demo "$@"
