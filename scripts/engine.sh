#!/usr/bin/env bash
# engine.sh [start]   gives this machine a Docker API where it has none: eval "$(scripts/engine.sh)"
# engine.sh base      makes the image localhost/debian:bookworm, for machines that can pull none
# engine.sh podman    runs podman as that engine: scripts/engine.sh podman images
# engine.sh stop      ends what `start` started, and its containers
#
# On Debian, without a Docker daemon, `start` runs podman's service as root with all it keeps in
# .engine/ (TEMPO_ENGINE chooses another folder): `stop` and `rm -rf .engine` leave nothing behind.
set -euo pipefail
cd "$(dirname "$0")/.."

home=${TEMPO_ENGINE:-$PWD/.engine}
socket=$home/podman.sock
base=localhost/debian:bookworm
packages=(podman runc netavark aardvark-dns iptables debootstrap curl)

say() { echo "$@" >&2; }
fail() { say "engine.sh: $*" && exit 1; }

# Calls the API of the engine at $DOCKER_HOST: api PATH [curl's options].
api() {
    local path=$1 && shift
    case $DOCKER_HOST in
        unix://*) curl -fsS --unix-socket "${DOCKER_HOST#unix://}" "$@" "http://localhost$path" ;;
        *) curl -fsS "$@" "${DOCKER_HOST/#tcp:/http:}$path" ;;
    esac
}
answers() { DOCKER_HOST=$1 api /_ping --max-time 5 >/dev/null 2>&1; }
running() { kill -0 "$(cat "$home/pid")" && grep -qs "$socket" "/proc/$(cat "$home/pid")/cmdline"; }

as_root() {
    if [ "$(id -u)" != 0 ]; then
        exec sudo --preserve-env=DOCKER_HOST,TEMPO_ENGINE,XDG_CACHE_HOME "scripts/engine.sh" "$@"
    fi
}

# One at a time, from here to the end of the script.
lock() { mkdir -p "$home" && exec 9>"$home/lock" && flock 9; }

install_missing() {
    local missing=()
    for package in "${packages[@]}"; do
        dpkg -s "$package" >/dev/null 2>&1 || missing+=("$package")
    done
    if [ ${#missing[@]} = 0 ]; then return; fi
    say "Installing ${missing[*]}"
    {
        apt-get update -q
        DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}"
    } >&2
}

# Containers of different engines share one machine: each engine takes a network of its own.
configure() {
    local number id driver=overlay
    mkdir -p "$home"/{storage,run,networks,probe/{lower,upper,work,merged}}
    if mount -t overlay tempo-probe "$home/probe/merged" \
        -o "lowerdir=$home/probe/lower,upperdir=$home/probe/upper,workdir=$home/probe/work" 2>/dev/null
    then
        umount "$home/probe/merged"
    else
        driver=vfs
        say "No overlay file system in $home: images take more room and time (TEMPO_ENGINE=FOLDER)"
    fi
    rm -rf "$home/probe"
    number=$((100 + $(printf %s "$home" | cksum | cut -d' ' -f1) % 150))
    id=$(printf tempo | sha256sum | cut -d' ' -f1)
    cat >"$home/storage.conf" <<END
[storage]
driver = "$driver"
graphroot = "$home/storage"
runroot = "$home/run/storage"
END
    # crun refuses hybrid cgroups; hard limits below podman's defaults fail every run.
    cat >"$home/containers.conf" <<END
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
lock_type = "file"
exit_command_delay = 30
tmp_dir = "$home/run/libpod"
[network]
network_backend = "netavark"
network_config_dir = "$home/networks"
default_network = "tempo"
default_subnet_pools = [{"base" = "10.$number.0.0/16", "size" = 24}]
END
    cat >"$home/networks/tempo.json" <<END
{
  "name": "tempo", "id": "$id", "driver": "bridge", "network_interface": "tempo$number",
  "created": "2024-01-01T00:00:00Z",
  "subnets": [{"subnet": "10.$number.0.0/24", "gateway": "10.$number.0.1"}],
  "ipv6_enabled": false, "internal": false, "dns_enabled": false,
  "ipam_options": {"driver": "host-local"}
}
END
}

podman() {
    env -u DOCKER_HOST -u CONTAINER_HOST CONTAINERS_CONF="$home/containers.conf" \
        CONTAINERS_STORAGE_CONF="$home/storage.conf" podman "$@"
}

start() {
    if [ -z "${DOCKER_HOST:-}" ] && answers unix:///var/run/docker.sock; then
        DOCKER_HOST=unix:///var/run/docker.sock
    fi
    if [ -n "${DOCKER_HOST:-}" ] && [ "$DOCKER_HOST" != "unix://$socket" ]; then
        answers "$DOCKER_HOST" || fail "nothing answers at DOCKER_HOST=$DOCKER_HOST: start it, or unset it"
        say "The engine at $DOCKER_HOST is used"
    elif answers "unix://$socket"; then
        DOCKER_HOST=unix://$socket
    else
        [ -f /etc/debian_version ] || fail "no Docker here, and this is not Debian: start one, set DOCKER_HOST"
        as_root start
        lock
        launch
    fi
    echo "export DOCKER_HOST=$DOCKER_HOST"
}

launch() {
    DOCKER_HOST=unix://$socket
    if answers "$DOCKER_HOST"; then return; fi
    [ ${#socket} -lt 100 ] || fail "$socket is too long for a socket: TEMPO_ENGINE=FOLDER names a shorter one"
    install_missing
    # What a machine had running before it was started anew is not running now.
    if ! cmp -s /proc/sys/kernel/random/boot_id "$home/boot"; then rm -rf "$home/run"; fi
    configure
    cp /proc/sys/kernel/random/boot_id "$home/boot"
    rm -f "$socket"
    CONTAINERS_CONF=$home/containers.conf CONTAINERS_STORAGE_CONF=$home/storage.conf setsid \
        podman system service --time=0 "unix://$socket" </dev/null >"$home/log" 2>&1 9>&- &
    echo $! >"$home/pid"
    for _ in $(seq 150); do
        if answers "$DOCKER_HOST" || ! running 2>/dev/null; then break; fi
        sleep 0.2
    done
    answers "$DOCKER_HOST" || fail "podman's service does not answer: $(tail -n 3 "$home/log")"
    if [ -n "${SUDO_UID:-}" ]; then chown "$SUDO_UID" "$socket"; fi
    say "podman's service is up; to end it: scripts/engine.sh stop"
}

stop() {
    if [ ! -f "$home/pid" ]; then return; fi
    as_root stop
    lock
    podman rm --all --force --time 2 >/dev/null
    podman network prune --force >/dev/null
    # They wait for those who ask how a command in a container has ended.
    for process in /proc/[0-9]*; do
        if tr '\0' ' ' <"$process/cmdline" | grep -qs "conmon .* -b $home/storage/\|podman --root $home/storage "; then
            kill -KILL "${process#/proc/}"
        fi
    done 2>/dev/null
    if running 2>/dev/null; then
        kill "$(cat "$home/pid")"
        while running 2>/dev/null; do sleep 0.1; done
    fi
    umount "$home/storage/overlay" 2>/dev/null || true
    rm -rf "$home/run" "$home/pid" "$socket"
}

# Debian's own packages, installed by debootstrap, with nothing in them that differs between two runs.
make_base() {
    local tarball=${XDG_CACHE_HOME:-$HOME/.cache}/tempo-runtime/bookworm.tar root
    eval "$(start)"
    if api "/images/$base/json" >/dev/null 2>&1; then return; fi
    if [ ! -f "$tarball" ]; then
        as_root base
        lock
        install_missing
        mkdir -p "$(dirname "$tarball")"
        root=$(mktemp -d "$home/base.XXXXXX")
        # shellcheck disable=SC2064
        trap "rm -rf '$root' '$tarball.$$'" EXIT
        say "Installing Debian bookworm for $base"
        debootstrap --variant=minbase --include=ca-certificates,python3,python3-venv \
            bookworm "$root" >"$home/debootstrap.log" || fail "debootstrap: $(tail -n 3 "$home/debootstrap.log")"
        chroot "$root" apt-get clean
        rm -rf "$root"/{debootstrap,var/lib/apt/lists,var/log,var/cache/ldconfig,etc/machine-id,dev,tmp} \
            "$root"/usr/share/{doc,man,locale,info} "$root"/{etc/resolv.conf,etc/hostname} "$root"/etc/*-
        mkdir -m 1777 "$root/tmp" && mkdir "$root"/{dev,var/log} "$root/var/lib/apt/lists"
        find "$root" -name __pycache__ -prune -exec rm -rf {} +
        tar -C "$root" -c --sort=name --numeric-owner --mtime=@0 --clamp-mtime . >"$tarball.$$"
        mv "$tarball.$$" "$tarball"
    fi
    api "/images/create?fromSrc=-&repo=$base" -X POST -T "$tarball" >/dev/null
    say "$base is made"
}

case ${1:-start} in
    start) start ;;
    base) make_base ;;
    podman) as_root "$@" && shift && podman "$@" ;;
    stop) stop ;;
    *) sed -n '2,5s/^# //p' "$0" >&2 && exit 2 ;;
esac
