#!/usr/bin/env bash
# Installs what the build, the tests and the demo need, on Debian 12 or later, from Debian and crates.io.
#
#   scripts/setup.sh           install whatever is missing; silent when nothing is
#   scripts/setup.sh --check   only list what is missing; exit status 1 if anything is
#
# Three things are needed besides ordinary packages, and all three must fit together:
#
# 1. A Rust for user space, at least the workspace's `rust-version`: rustup's if there, else Debian's (cargo-web).
# 2. `core` compiled for the BPF target. rustup ships none; Debian's security archive does, for its own
#    /usr/bin/rustc (rustc-web). So the eBPF crate is always built, and linted, with Debian's compiler.
# 3. bpf-linker, linked with the LLVM of that compiler: another major could not read its bitcode.
set -euo pipefail

# shellcheck source=scripts/env.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/env.sh"

bpf_rustc=/usr/bin/rustc
bpf_linker_version=0.13.0
default_llvm=22 # what rustc-web 1.96 uses; the installed compiler's own answer comes first

debian_rust=(rustc-web cargo-web rust-web-clippy rustfmt-web libstd-rust-web-dev-bpf)
# program:package
programs=(
    c++:g++ cc:gcc curl:curl ethtool:ethtool etcd:etcd-server git:git ip:iproute2 make:make nft:nftables nginx:nginx-light
    openssl:openssl ping:iputils-ping prometheus:prometheus protoc:protobuf-compiler ps:procps systemd-analyze:systemd
    tcpdump:tcpdump tracepath:iputils-tracepath traceroute:traceroute
)
# Of these, package:service of those that Debian would start.
services=(etcd-server:etcd nginx-light:nginx prometheus:prometheus)

die() {
    printf 'setup: %s\n' "$@" >&2
    exit 1
}

# --- What is there? Asked of the things themselves rather than of dpkg, so it does not matter who installed them.

has_user_rust() {
    rustc_is_usable rustc && cargo --version &>/dev/null
}

has_rust_lints() {
    cargo clippy --version &>/dev/null && cargo fmt --version &>/dev/null
}

# Compiles an empty crate: also notices a `core` that is of another version than the compiler.
has_bpf_core() {
    rustc_is_usable "$bpf_rustc" && "$bpf_rustc" --target bpfel-unknown-none --crate-type rlib \
        --emit metadata -o "$scratch/empty.rmeta" - <<<'#![no_std]' &>/dev/null
}

has_bpf_lints() {
    [[ $(/usr/bin/clippy-driver --rustc --version 2>/dev/null) == "$("$bpf_rustc" --version 2>/dev/null)" ]]
}

llvm_major() {
    local major
    major=$("$bpf_rustc" -vV 2>/dev/null | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')
    echo "${major:-$default_llvm}"
}

# For the tools from PyPI that `cargo xtask check-deploy` uses: a bare python3 of Debian can't make an environment.
has_python_venv() {
    python3 -c 'import ensurepip, venv' 2>/dev/null
}

# Debian 12 has it in the package of the server.
promtool_package() {
    if [[ $(os_release VERSION_ID) == 12 ]]; then echo prometheus; else echo promtool; fi
}

has_bpf_linker() {
    local path
    path=$(command -v bpf-linker) &&
        [[ $(bpf-linker --version 2>/dev/null) == "bpf-linker $bpf_linker_version" ]] &&
        [[ $(ldd "$path") == *"libLLVM.so.$(llvm_major)."* ]]
}

# Fills `packages` (Debian's), `rustup_components` and `linker` with what is missing.
look() {
    packages=() rustup_components=() linker=

    local pair
    for pair in "${programs[@]}"; do
        command -v "${pair%:*}" >/dev/null || packages+=("${pair#*:}")
    done
    command -v promtool >/dev/null || packages+=("$(promtool_package)")
    has_python_venv || packages+=(python3-venv)
    [[ -e /usr/include/stdio.h ]] || packages+=(libc6-dev)
    # What etcd's messages import; protoc only recommends it.
    [[ -e /usr/include/google/protobuf/descriptor.proto ]] || packages+=(libprotobuf-dev)
    [[ -e /etc/ssl/certs/ca-certificates.crt ]] || packages+=(ca-certificates)

    # All of Debian's Rust or none: its packages only fit each other in one version.
    if ! has_user_rust || ! has_bpf_core || ! has_bpf_lints; then
        packages+=("${debian_rust[@]}")
    elif ! has_rust_lints && command -v rustup >/dev/null; then
        rustup_components=(clippy rustfmt)
    elif ! has_rust_lints; then
        packages+=("${debian_rust[@]}")
    fi

    [[ ${#packages[@]} -eq 0 ]] || mapfile -t packages < <(printf '%s\n' "${packages[@]}" | sort -u)
    has_bpf_linker || linker="bpf-linker $bpf_linker_version"
}

# --- Installing.

# Runs a command silently; shows what it said only if it fails.
quietly() {
    "$@" >"$scratch/log" 2>&1 </dev/null 9>&- && return
    cat "$scratch/log" >&2
    ! grep -q 'remove is disabled' "$scratch/log" ||
        die "the packages listed above as 'will be REMOVED' cannot live beside the ones needed: please remove them first."
    die "this command failed: $*"
}

os_release() {
    sed -n "s/^$1=\"\?\([^\"]*\)\"\?$/\1/p" /etc/os-release 2>/dev/null || true
}

require_debian() {
    local version by_hand
    version=$(os_release VERSION_ID)
    version=${version:-99} # testing and unstable have none
    by_hand=(
        "Install these by hand, then use 'cargo xtask' directly:"
        "  Rust >= $min_rust with clippy and rustfmt"
        "  'core' for BPF: rustup toolchain install nightly --component rust-src"
        "  the linker:     cargo install bpf-linker --version $bpf_linker_version"
        "  the programs:   ${programs[*]%:*}"
    )
    if [[ $(os_release ID) != debian || ${version%%.*} -lt 12 ]] || ! command -v apt-get >/dev/null; then
        die "this system is not Debian 12 or later." "${by_hand[@]}"
    fi
    case $(dpkg --print-architecture) in
    amd64 | arm64) ;;
    *) die "only amd64 and arm64 are supported, this is $(dpkg --print-architecture)." "${by_hand[@]}" ;;
    esac
}

# Becoming root is put off until something has to be installed.
require_root() {
    [[ $EUID -eq 0 ]] && return
    command -v sudo >/dev/null || die "must install Debian packages: run me as root, or install sudo."
    as_root=(sudo)
}

apt_install() {
    # --no-remove: rather fail than take away the compiler that someone put there (rustc-web conflicts with rustc).
    quietly "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends --no-remove \
        -o DPkg::Lock::Timeout=300 "$@"
}

# Some are only wanted as programs that the tests start. Debian would start them at once and at every boot, so while
# they are installed a policy forbids that; a policy that was there before keeps its word on everything else.
policy=/usr/sbin/policy-rc.d
policy_before=$policy.before-gateway-setup
policy_mark="Only for some seconds, by the gateway's scripts/setup.sh"

# Arguments: those of `services` that are to be installed.
install_without_starting() {
    local names=("${@#*:}") service
    restore_policy # in case an earlier run was killed
    trap 'restore_policy; rm -rf "$scratch"' EXIT
    [[ ! -e $policy && ! -L $policy ]] || "${as_root[@]}" mv "$policy" "$policy_before"
    "${as_root[@]}" tee "$policy" >/dev/null <<POLICY
#!/bin/sh
# $policy_mark: it installs these and does not want them started.
case "\$*" in $(printf '*%s*|' "${names[@]}" | sed 's/|$//')) exit 101 ;; esac
[ ! -x $policy_before ] || exec $policy_before "\$@"
POLICY
    "${as_root[@]}" chmod 755 "$policy"
    apt_install "${@%:*}"
    restore_policy
    for service in "${names[@]}"; do
        never_at_boot "$service"
    done
}

# Whichever of the two init systems the package knows.
never_at_boot() {
    [[ ! -e /etc/init.d/$1 ]] || quietly "${as_root[@]}" update-rc.d "$1" disable
    if command -v systemctl >/dev/null && [[ -e /lib/systemd/system/$1.service ]]; then
        quietly "${as_root[@]}" systemctl --no-reload disable "$1.service"
    fi
}

restore_policy() {
    if [[ -e $policy_before || -L $policy_before ]]; then
        "${as_root[@]}" mv -f "$policy_before" "$policy"
    elif grep -qs "$policy_mark" "$policy"; then
        "${as_root[@]}" rm "$policy"
    fi
}

install_packages() {
    require_debian
    require_root
    echo "setup: installing Debian packages: ${packages[*]}"
    quietly "${as_root[@]}" apt-get update
    if [[ " ${packages[*]} " == *" rustc-web "* ]]; then
        apt-cache show libstd-rust-web-dev-bpf &>/dev/null ||
            die "apt knows no libstd-rust-web-dev-bpf. Add Debian's security archive to /etc/apt/sources.list, e.g.:" \
                "  deb http://deb.debian.org/debian-security $(os_release VERSION_CODENAME)-security main"
    fi

    local package pair others=() quiet=()
    for package in "${packages[@]}"; do
        for pair in "${services[@]}"; do
            [[ $package != "${pair%:*}" ]] || quiet+=("$pair")
        done
        [[ " ${services[*]}" == *" $package:"* ]] || others+=("$package")
    done
    [[ ${#others[@]} -eq 0 ]] || apt_install "${others[@]}"
    [[ ${#quiet[@]} -eq 0 ]] || install_without_starting "${quiet[@]}"
}

install_linker() {
    local llvm
    llvm=$(llvm_major)
    if [[ ! -e /usr/lib/llvm-$llvm/bin/llvm-config ]]; then
        packages=("llvm-$llvm-dev")
        install_packages
    fi
    echo "setup: building $linker against LLVM $llvm (crates.io, takes a minute)"
    LLVM_PREFIX=/usr/lib/llvm-$llvm quietly cargo install bpf-linker --version "$bpf_linker_version" --locked --force \
        --root "${cargo_bin%/bin}" --no-default-features --features "llvm-$llvm"
}

# --- Main.

scratch=$(mktemp -d)
as_root=()
trap 'rm -rf "$scratch"' EXIT
trap 'exit 130' INT TERM

missing() {
    echo "${packages[*]} ${rustup_components[*]} $linker" | xargs
}

case ${1:-} in
--check)
    look
    [[ -z $(missing) ]] || die "missing: $(missing)"
    exit
    ;;
'') ;;
*) die "unknown argument '$1'; usage: setup.sh [--check]" ;;
esac

exec 9<"$0" && flock 9 # one at a time
look
[[ -n $(missing) ]] || exit 0

if [[ ${#packages[@]} -gt 0 ]]; then
    install_packages
    # shellcheck source=scripts/env.sh
    source "$repo/scripts/env.sh" # Debian's cargo may have come
fi
if [[ ${#rustup_components[@]} -gt 0 ]]; then
    echo "setup: adding rustup components: ${rustup_components[*]}"
    quietly rustup component add "${rustup_components[@]}"
fi
[[ -z $linker ]] || install_linker

look
[[ -z $(missing) ]] || die "installed, but still missing: $(missing)"
