#!/bin/sh
# From the initramfs to the host's file system, read-only below one in memory.
mkdir -p /proc /lower /memory /root
mount -t proc proc /proc
while read -r module; do insmod "/modules/$module"; done </modules/order
mount -t 9p -o ro,trans=virtio,version=9p2000.L,msize=512000,cache=loose host /lower
mount -t tmpfs tmpfs /memory
mkdir /memory/upper /memory/work
mount -t overlay -o lowerdir=/lower,upperdir=/memory/upper,workdir=/memory/work overlay /root
umount /proc
exec switch_root /root /bin/sh SCRIPT
