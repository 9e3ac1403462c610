# The first process of a test host: gives it a /proc, /sys, /run, /var/lib and /var/log of its own and keeps its one service
# running, as an installed machine's service manager would. Called as: init.sh FOLDER HOSTNAME COMMAND...
set -eu
folder=$1 name=$2
shift 2
hostname "$name"
mount --make-rshared /
mount -t proc proc /proc
# What /proc/self/cgroup names is where this host's cgroups begin: it has a cgroup namespace.
groups=$(cat /proc/self/cgroup)
mount -t sysfs sysfs /sys
if [ "$groups" = "0::/" ]; then
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
    # In v2 a cgroup with children has no processes of its own.
    mkdir -p /sys/fs/cgroup/init
    echo 1 > /sys/fs/cgroup/init/cgroup.procs
    for controller in $(cat /sys/fs/cgroup/cgroup.controllers); do
        echo "+$controller" > /sys/fs/cgroup/cgroup.subtree_control
    done
else
    mount -t tmpfs -o mode=755 cgroups /sys/fs/cgroup
    echo "$groups" | while IFS=: read -r number list path; do
        case $list in
            "") place=unified type=cgroup2 options=rw ;;
            name=*) place=${list#name=} type=cgroup options=none,$list ;;
            *) place=$list type=cgroup options=$list ;;
        esac
        mkdir "/sys/fs/cgroup/$place"
        mount -t "$type" -o "$options" cgroup "/sys/fs/cgroup/$place"
        # Hierarchies of several controllers are found by the name of each.
        for part in $(echo "$place" | tr , ' '); do
            [ -e "/sys/fs/cgroup/$part" ] || ln -s "$place" "/sys/fs/cgroup/$part"
        done
    done
fi
mount -t tmpfs -o mode=755 run /run
mount -t tmpfs -o mode=755 lib /var/lib
mkdir -p /run/lock /run/netns /var/lib/isopod "$folder/data" "$folder/log"
mount --bind "$folder/data" /var/lib/isopod
mount --bind "$folder/log" /var/log
echo started >> "$folder/starts"
# 64 is a mistake on the command line, which the next start would make again.
while :; do
    status=0
    "$@" >> "$folder/service.log" 2>&1 < /dev/null || status=$?
    echo "$status" >> "$folder/exits"
    [ "$status" -ne 64 ] || exit 64
    sleep 0.2
done
