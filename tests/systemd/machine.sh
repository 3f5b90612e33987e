#!/bin/sh
# What `machine.py` runs in new namespaces: lays a file system over the real one, all of whose changes are lost at the
# end, and becomes systemd in it, with no unit of the real machine.
# Arguments: a directory to work in; the units to begin with; then pairs: a directory of the real machine, where it is seen.
set -eu
work=$1 units=$2
shift 2

mount --make-rprivate /
mount -t tmpfs -o mode=755 tmpfs "$work"
mkdir "$work/changes" "$work/scratch" "$work/root"
mount -t overlay -o "lowerdir=/,upperdir=$work/changes,workdir=$work/scratch" overlay "$work/root"
cd "$work/root"

mount -t proc proc proc
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
for each in run etc/systemd/system srv; do mount -t tmpfs -o mode=755 tmpfs $each; done
mount -t tmpfs -o mode=1777 tmpfs tmp
mount -t tmpfs -o mode=755 tmpfs dev
mkdir -m 1777 dev/shm
for each in null zero full random urandom tty; do
    touch dev/$each
    mount --bind /dev/$each dev/$each
done
ln -s /proc/self/fd dev/fd
ln -s fd/0 dev/stdin
ln -s fd/1 dev/stdout
ln -s fd/2 dev/stderr
ln -s pts/ptmx dev/ptmx

while [ $# -gt 0 ]; do
    mkdir -p "./$2"
    mount --rbind "$1" "./$2"
    shift 2
done
mkdir -p run/systemd/system run/generators run/outside
cp "$units"/* run/systemd/system/
printf '[Journal]\nStorage=volatile\n' >etc/systemd/journald.conf

pivot_root . run/outside
umount -l /run/outside
# As the real one does, but not in a container. Credentials come this way.
mount --make-rshared /
exec env -i container=test PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    SYSTEMD_UNIT_PATH=/etc/systemd/system:/run/systemd/system SYSTEMD_GENERATOR_PATH=/run/generators \
    /lib/systemd/systemd --system --unit=multi-user.target --show-status=no --log-target=journal-or-kmsg
