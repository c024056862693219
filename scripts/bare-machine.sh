#!/usr/bin/env bash
# The promise of the README, measured: a Debian 12 with nothing but Rust, git and a C++ compiler, in
# a chroot, and in it the two commands. Needs root. Takes as long as the first build does.
#
#   scripts/bare-machine.sh prepare DIR    make the bare machine
#   scripts/bare-machine.sh measure DIR    clone HEAD into it; there `cargo xtask run` until it is
#                                          ready, then `cargo xtask test`
#   scripts/bare-machine.sh shell DIR      look around
#   scripts/bare-machine.sh remove DIR     unmount and delete it
#
# The chroot borrows from this machine what belongs to the place and not to the system: the network's
# settings, the certificates it trusts, apt's sources, and the rustup toolchain with its cargo. It
# gets no cargo registry and no ccache: downloads and compilation are cold.
set -euo pipefail

repo=$(cd "$(dirname "$0")/.." && pwd)
suite=bookworm
mirror=http://deb.debian.org/debian
toolchain=$(sed -n 's/^channel = "\(.*\)"$/\1/p' "$repo/rust-toolchain.toml")

fail() { echo "bare-machine: $*" >&2; exit 1; }
say() { echo "bare-machine: $*"; }

[[ $# -eq 2 ]] || { sed -n '2,10s/^# \{0,1\}//p' "$0"; exit 2; }
[[ $(id -u) -eq 0 ]] || fail "must be root: it makes a chroot"
action=$1
mkdir -p "$(dirname "$2")"
root=$(cd "$(dirname "$2")" && pwd)/$(basename "$2")
case "$root" in / | "$HOME" | "$repo" | "$repo"/*) fail "$root is no place for a chroot" ;; esac

# What a build needs of the network besides the resolver; empty where the machine has none of it.
network_environment() {
    local name
    for name in http_proxy https_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY; do
        [[ -z "${!name:-}" ]] || printf '%s\0' "$name=${!name}"
    done
}

inside() {
    local variables=()
    mapfile -d '' -t variables < <(network_environment)
    chroot "$root" /usr/bin/env -i "${variables[@]}" HOME=/root LANG=C.UTF-8 TERM=dumb \
        PATH=/root/.cargo/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$@"
}

mount_system() {
    local kind
    for kind in proc sys dev; do
        mountpoint -q "$root/$kind" || mount --rbind "/$kind" "$root/$kind"
        mount --make-rslave "$root/$kind"
    done
}

unmount_system() {
    local kind
    for kind in proc sys dev; do
        ! mountpoint -q "$root/$kind" || umount --recursive --lazy "$root/$kind"
        ! mountpoint -q "$root/$kind" || fail "cannot unmount $root/$kind"
    done
}

prepare() {
    [[ ! -e "$root" ]] || fail "$root exists already"
    if ! command -v debootstrap >/dev/null; then
        say "installing debootstrap, which makes the chroot"
        apt-get -q update
        DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends debootstrap
    fi
    debootstrap --variant=minbase --include=ca-certificates,g++,git "$suite" "$root" "$mirror"

    cp -L /etc/resolv.conf /etc/hosts "$root/etc/"
    cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
    local settings
    for settings in /etc/apt/apt.conf.d/*proxy*; do
        [[ ! -f "$settings" ]] || cp "$settings" "$root/etc/apt/apt.conf.d/"
    done
    if [[ -f /etc/apt/sources.list.d/debian.sources ]]; then
        cp /etc/apt/sources.list.d/debian.sources "$root/etc/apt/sources.list.d/"
        : >"$root/etc/apt/sources.list"
    fi

    local cargo=${CARGO_HOME:-$HOME/.cargo} rustup=${RUSTUP_HOME:-$HOME/.rustup} source
    mkdir -p "$root/root/.cargo" "$root/root/.rustup/toolchains"
    cp -a "$cargo/bin" "$root/root/.cargo/"
    for settings in config config.toml; do
        [[ ! -f "$cargo/$settings" ]] || cp "$cargo/$settings" "$root/root/.cargo/"
    done
    cp "$rustup/settings.toml" "$root/root/.rustup/"
    source=$(find "$rustup/toolchains" -mindepth 1 -maxdepth 1 -name "$toolchain-*" | head -n 1)
    [[ -n "$source" ]] || fail "no toolchain $toolchain in $rustup"
    cp -a "$(realpath "$source")" "$root/root/.rustup/toolchains/$(basename "$source")"

    say "made $root: $(inside cat /etc/debian_version), $(inside c++ --version | head -n 1)"
    say "it has $(inside dpkg-query -W | wc -l) packages; of these tools:"
    local tool
    for tool in git c++ cargo make cmake pkg-config clang protoc ccache sudo curl; do
        printf '  %-12s %s\n' "$tool" "$(inside sh -c "command -v $tool" || echo absent)"
    done
}

# Whether the status server inside, which shares this machine's network, says that it is ready.
ready() {
    local answer
    exec 3<>/dev/tcp/127.0.0.1/20180 || return 1
    printf 'GET /ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n' >&3
    read -r answer <&3 || return 1
    exec 3>&-
    [[ "$answer" == *" 200 "* ]]
}

measure() {
    [[ -x "$root/root/.cargo/bin/cargo" ]] || fail "$root is not prepared"
    rm -rf "$root/root/tikv-server"
    git clone --quiet "file://$repo" "$root/root/tikv-server"
    say "measuring $(git -C "$repo" log -1 --format='%h %s')"
    mount_system
    trap unmount_system EXIT
    local started=$SECONDS pid log="$root/root/run.log"
    ! ready 2>/dev/null || fail "something already listens on 20180"

    say "cargo xtask run"
    inside sh -c 'cd /root/tikv-server && echo $$ >/root/run.pid && exec cargo xtask run' \
        </dev/null >"$log" 2>&1 &
    pid=$!
    # Its own word first: the network is this machine's, and somebody else may answer on that port.
    until grep -q "tikv-server is ready" "$log" && ready 2>/dev/null; do
        kill -0 "$pid" 2>/dev/null || { tail -n 40 "$log"; fail "the server did not start"; }
        sleep 1
    done
    say "ready after $((SECONDS - started)) s"
    # The shell became cargo, cargo became xtask, xtask became the server: one process id.
    kill -TERM "$(cat "$root/root/run.pid")"
    wait "$pid" || true
    grep -E '^(setup|  [a-zA-Z+]|data directory)' "$log" || true

    say "cargo xtask test"
    local tested=$SECONDS
    inside sh -c 'cd /root/tikv-server && exec cargo xtask test' </dev/null 2>&1 |
        tee "$root/root/test.log"
    say "tests after $((SECONDS - tested)) s more, $((SECONDS - started)) s in all"
}

case "$action" in
prepare) prepare ;;
measure) measure ;;
shell)
    mount_system
    trap unmount_system EXIT
    inside bash -l || true
    ;;
remove)
    unmount_system
    rm -rf --one-file-system "$root"
    ;;
*) fail "no such action: $action" ;;
esac
