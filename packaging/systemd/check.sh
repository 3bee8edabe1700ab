#!/bin/bash
# Boots the machine's systemd in namespaces of its own, on an overlay of the
# machine's files, and runs the units there as they are: with the real
# notifications, watchdog, sockets and confinement. Nothing outside is changed, except
# for empty control groups. It takes root, a kernel that lets root do so, and a
# machine that is not itself run by systemd, such as a container; `make systemd-check` runs it:
#
#   check.sh BINARY
set -euo pipefail

units=$(cd "$(dirname "$0")" && pwd)
case ${1-} in
--boot) # in the namespaces; this becomes process 1
	root=$2/root
	mount --make-rprivate /
	mount -t tmpfs tmpfs "$2" && mkdir "$2/upper" "$2/work" "$root" "$2/out"
	mount -t overlay -o "lowerdir=/,upperdir=$2/upper,workdir=$2/work" overlay "$root"
	cd "$root"
	rm -rf etc/systemd/system/* var/lib/tcp-log-server
	mount -t proc proc proc
	mount --rbind /sys sys
	for dir in run tmp dev; do mount -t tmpfs tmpfs $dir; done
	for device in null zero full random urandom tty; do touch dev/$device && mount --bind /dev/$device dev/$device; done
	mkdir dev/shm dev/pts old
	mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
	ln -s pts/ptmx dev/ptmx && ln -s /proc/self/fd dev/fd
	mount -t tmpfs tmpfs sys/fs/cgroup && mkdir sys/fs/cgroup/systemd
	mount -t cgroup -o none,name=systemd,xattr cgroup sys/fs/cgroup/systemd
	ip link set lo up
	install -m 755 "$3" usr/bin/tcp-log-server
	cp "$units"/*.service "$units"/*.socket "$units"/*.timer etc/systemd/system/
	install -D -m 644 "$units/sysusers.conf" etc/sysusers.d/tcp-log-server.conf
	install -D -m 644 "$units/tmpfiles.conf" etc/tmpfiles.d/tcp-log-server.conf
	mkdir etc/systemd/system/tcp-log-server.service.d
	printf '[Service]\nWatchdogSec=2s\n' >etc/systemd/system/tcp-log-server.service.d/short.conf
	install -m 755 "$units/check.sh" check.sh
	mkfifo report
	cat >etc/systemd/system/check.service <<-E
		[Unit]
		DefaultDependencies=no
		[Service]
		Type=oneshot
		ExecStart=/bin/bash /check.sh --inside
		StandardOutput=file:/report
		StandardError=inherit
	E
	printf '[Unit]\nDefaultDependencies=no\nRequires=check.service\nAllowIsolate=yes\n' >etc/systemd/system/check.target
	cat report >&3 & # to the process that started this
	pivot_root . old && umount -l /old
	exec env -i container=other PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --system --unit=check.target --log-target=journal 3>&-
	;;
--inside) ;; # below
*)
	if [ -d /run/systemd/system ]; then
		echo "systemd-check: systemd runs this machine, and two would get into each other's way: use one that it does not, a container"
		exit 1
	fi
	dir=$(mktemp -d)
	exec 3> >(tee "$dir/report")
	unshare --fork --kill-child --pid --mount --uts --ipc --net --cgroup bash "$0" --boot "$(mktemp -d -p "$dir")" "$(realpath "$1")" </dev/null >"$dir/boot" 2>&1 &
	trap 'kill -9 $! 2>/dev/null; wait $! 2>/dev/null || true; rm -rf "$dir"' EXIT
	for _ in $(seq 600); do
		sleep 0.2
		if grep -q '^systemd-check: ' "$dir/report"; then grep -q '^systemd-check: passed' "$dir/report" && exit 0 || exit 1; fi
		kill -0 $! 2>/dev/null || break
	done
	echo "systemd-check: systemd does not run in namespaces here: $(tail -n 1 "$dir/boot")"
	exit 1
	;;
esac

# Inside, as a service of that systemd.
trap 'echo "systemd-check: failed at line $LINENO"; systemctl --no-pager status tcp-log-server | cat' ERR
set -E
server=tcp-log-server.service
property() { systemctl show --value -p "$2" "$1"; }
want() { # NAME COMMAND…: the command, until it succeeds
	for _ in $(seq 100); do if "${@:2}"; then echo "ok: $1"; return; fi; sleep 0.2; done
	echo "not: $1"; return 1
}
is() { [ "$(property "$1" "$2")" = "$3" ]; }
append() { # I: the entry gets the index I
	exec 9<>/dev/tcp/127.0.0.1/8089
	echo '{"id":"1","entry":{}}' >&9
	[ "$(timeout 20 head -n 1 <&9)" = "{\"id\":\"1\",\"index\":$1}" ]
	exec 9>&-
}

systemd-sysusers tcp-log-server.conf
systemd-tmpfiles --create tcp-log-server.conf
systemctl start $server # returns when the server has said that it is ready
append 1
is $server StatusText 'listening on 127.0.0.1:8089'
echo "ok: started, and said so"
grep -q '^CapBnd:.*[^0[:space:]]' "/proc/$(property $server MainPID)/status" && false
grep -q '^Seccomp:.*2' "/proc/$(property $server MainPID)/status"
echo "ok: no capabilities, filtered system calls"
systemctl start tcp-log-server-fsck.service
echo "ok: fsck beside the server"
systemctl reload $server
append 2
echo "ok: reload"
sleep 5 # twice as long as the watchdog waits
is $server NRestarts 0
kill -STOP "$(property $server MainPID)"
want "a server that hangs is started again" is $server NRestarts 1
want "and is ready again" is $server ActiveState active
append 3
systemctl stop $server
is $server Result success
echo "ok: stop"
systemctl start tcp-log-server.socket
is $server ActiveState inactive
append 4
echo "ok: started by a connection"
systemctl restart $server &
append 5
wait $!
echo "ok: clients wait while it restarts"
systemctl stop tcp-log-server.socket $server
printf '\377' | dd of=/var/lib/tcp-log-server/segments/00000000000000000001.seg bs=1 seek=100 conv=notrunc status=none
systemctl start $server && false
want "a damaged log is not started for ever" is $server ActiveState failed
systemctl start tcp-log-server-fsck.service && false
is tcp-log-server-fsck.service ExecMainStatus 4
echo "ok: damage makes the check fail"
echo "systemd-check: passed"
