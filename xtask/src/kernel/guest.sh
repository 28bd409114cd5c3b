#!/bin/sh
# The first process of the machine that `cargo xtask test --kernel` starts. What runs is appended below.
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t tmpfs tmpfs /tmp
mount -t tmpfs tmpfs /run
mount -t bpf bpf /sys/fs/bpf
mkdir -p /dev/shm /lib/modules
# The kernel's own messages have the first line; the second one is for the tests, without CR before LF.
stty -F /dev/ttyS1 -opost
exec >/dev/ttyS1 2>&1 </dev/null
export HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
ip link set lo up
uname -srv
status=0

run() {
    printf '\n%s\n' "${1##*/}"
    "$@" || status=$?
}

# No "exit": the kernel would panic without its first process. `stty` waits until all is written.
end() {
    echo "status: $status"
    stty -F /dev/ttyS1 opost
    sleep infinity &
    echo o >/proc/sysrq-trigger
    wait
}

