# shellcheck shell=bash
# Sourced by the other scripts: a PATH on which cargo, bpf-linker and the network tools are found.
#
# - cargo's own bin directory, where rustup and `cargo install` put things, is not on every shell's PATH;
# - /usr/sbin (nginx, nft, tcpdump) is not on an ordinary user's PATH in Debian;
# - a Rust that is older than the workspace's `rust-version` gives way to Debian's in /usr/bin.

repo=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
cargo_bin=${CARGO_HOME:-$HOME/.cargo}/bin
min_rust=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' "$repo/Cargo.toml")

# True if $1 is a rustc that runs and is new enough. (rustup's stand-in may have no toolchain behind it.)
rustc_is_usable() {
    local have
    have=$("$1" --version 2>/dev/null | cut -d' ' -f2)
    [[ -n $have && $(printf '%s\n' "$min_rust" "$have" | sort --version-sort | head -n1) == "$min_rust" ]]
}

PATH=$cargo_bin:$PATH:/usr/sbin:/sbin
rustc_is_usable rustc && cargo --version &>/dev/null || PATH=/usr/bin:$PATH
export PATH
