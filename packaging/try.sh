#!/usr/bin/env bash
# Tries a package on a fresh Debian 12 that boots its own systemd, in a container without a network:
# installs it, asks the running service, sends media through it, serves https, kills it, upgrades it,
# removes and purges it. Prints one line per look; the exit status is 0 when all hold.
#
#   sudo packaging/try.sh [target/debian/leafcutter_VERSION_ARCH.deb]
#
# Needs root, debootstrap and systemd-container. The fresh Debian is made once, from the first mirror
# in apt's own list or from $MIRROR, and kept in target/packaging/bookworm; what is tried is a copy.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if [[ $# -gt 0 ]]; then package=$1; else package=$(ls -t target/debian/leafcutter_*.deb | head -1); fi
base=$PWD/target/packaging/bookworm
mkdir -p "${base%/*}"
if [[ ! -e $base/etc/made ]]; then
  rm -rf "$base"
  mirror=${MIRROR:-$(cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null |
    grep -oE '(URIs:|^deb( \[.*\])?) +[^ ]+/debian/?( |$)' | grep -oE 'https?://[^ ]+' | head -1 || true)}
  debootstrap --variant=minbase --include=systemd-sysv,dbus,adduser,curl,openssl,procps \
    bookworm "$base" "${mirror:-http://deb.debian.org/debian}" >"$base.log"
  touch "$base/etc/made"
fi

tree=$(mktemp -d "${base%/*}/try.XXXXXX")
container=
cleanup() {
  if [[ -n $container ]]; then
    # Orderly: the container's systemd ends on this signal.
    kill -RTMIN+4 "$(leader)" 2>/dev/null || true
    wait "$container" 2>/dev/null || true
  fi
  rm -rf "$tree"
}
trap cleanup EXIT
leader() { pgrep -P "$container" | head -1; }
inside() {
  nsenter --target "$(leader)" --mount --uts --ipc --net --pid --cgroup -- \
    env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive "$@"
}

failures=0
# look WHAT COMMAND...: one line; what the command printed only when it failed.
look() {
  local what=$1 said
  shift
  if said=$("$@" 2>&1); then
    echo "ok   $what"
  else
    echo "FAIL $what: $said"
    failures=$((failures + 1))
  fi
}
# soon COMMAND...: within 30 s.
soon() {
  for _ in {1..150}; do
    if "$@" >/dev/null 2>&1; then return 0; fi
    sleep 0.2
  done
  "$@"
}
answers() { soon inside curl --fail --silent --show-error "$@"; }
not() { ! "$@"; }
prints() {
  local wanted=$1 said
  shift
  said=$("$@" 2>&1) || true
  [[ $said == *"$wanted"* ]] || { echo "$said"; return 1; }
}

cp -a "$base/." "$tree"
cp "$package" "$tree/leafcutter.deb"
systemd-nspawn --quiet --directory="$tree" --boot --register=no --keep-unit --private-network \
  >"$base.boot.log" 2>&1 </dev/null &
container=$!
look "systemd runs" soon inside systemctl is-system-running

apt=(apt-get install --yes --no-install-recommends)
look "the package installs" inside "${apt[@]}" /leafcutter.deb
look "the service runs" soon inside systemctl is-active leafcutter
look "as its own user" prints leafcutter inside ps -o user= -C leafcutter
look "the playground is served" answers http://127.0.0.1:5080/LiveApp/
look "the settings are in order" inside leafcutter check-config --config /etc/leafcutter/leafcutter.toml
as() { inside setpriv --reuid="$1" --regid="$2" --clear-groups "${@:3}"; }
look "the service's user may read them" as leafcutter leafcutter cat /etc/leafcutter/leafcutter.toml
look "nobody else may" not as nobody nogroup cat /etc/leafcutter/leafcutter.toml
look "there is a manual page" inside test -s /usr/share/man/man1/leafcutter.1.gz
inside systemd-analyze security leafcutter --no-pager | tail -1
look "the sandbox is a tight one" inside systemd-analyze security leafcutter --threshold=20 --no-pager

# What runs beside this says nothing of the package: nobody is refused for it.
inside mkdir -p /etc/systemd/system/leafcutter.service.d
inside sh -c 'printf "[Service]\nEnvironment=LEAFCUTTER_CPU_LIMIT=100\n" >/etc/systemd/system/leafcutter.service.d/try.conf'
inside sh -c 'cd /etc/leafcutter && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes \
  -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost -keyout key.pem -out cert.pem &&
  chown leafcutter key.pem cert.pem &&
  sed -i "s|^listen = .*|&\ntls_listen = \"0.0.0.0:443\"\ntls_cert = \"/etc/leafcutter/cert.pem\"\ntls_key = \"/etc/leafcutter/key.pem\"|" leafcutter.toml' 2>/dev/null
inside systemctl daemon-reload
look "it restarts" inside systemctl restart leafcutter
look "https on port 443" answers --cacert /etc/leafcutter/cert.pem https://localhost/LiveApp/
look "ready" answers http://127.0.0.1:5080/readyz
look "media flows within the sandbox" prints "loss               0.0000 %" inside timeout 120 \
  leafcutter bench fanout --url ws://127.0.0.1:5080/LiveApp/websocket --viewers 3 --duration 3
look "data is kept" answers --request POST --header "content-type: application/json" --data '{"streamId": "kept"}' \
  http://127.0.0.1:5080/LiveApp/rest/v2/broadcasts/create
look "the sandbox forbade nothing" not inside sh -c 'journalctl -u leafcutter --output=cat | grep -iE "not permitted|read-only|denied"'

look "the doctor sees the service's data, as its user" prints "/var/lib/leafcutter can be written" inside \
  systemd-run --pipe --wait --quiet --property=User=leafcutter --property=LimitNOFILE=1048576 \
  --property=AmbientCapabilities="CAP_NET_BIND_SERVICE CAP_NET_ADMIN" \
  leafcutter doctor --config /etc/leafcutter/leafcutter.toml

killed=$(inside systemctl show --property=MainPID --value leafcutter)
inside kill -KILL "$killed"
look "it comes back when it is killed" answers http://127.0.0.1:5080/readyz
inside mv /etc/leafcutter/leafcutter.toml /etc/leafcutter/away.toml
inside systemctl kill --signal=KILL leafcutter
# Ten starts that fail at once.
sleep 15
inside mv /etc/leafcutter/away.toml /etc/leafcutter/leafcutter.toml
look "it comes back however often it could not start" answers http://127.0.0.1:5080/readyz
look "with its data" answers http://127.0.0.1:5080/LiveApp/rest/v2/broadcasts/kept

inside systemctl stop leafcutter
inside sh -c 'umask 077; cp /var/lib/leafcutter/leafcutter.db /var/backups/leafcutter.db; rm /var/lib/leafcutter/leafcutter.db*'
inside install -o leafcutter -g leafcutter -m 600 /var/backups/leafcutter.db /var/lib/leafcutter/leafcutter.db
inside systemctl start leafcutter
look "a copy of the data is put back" answers http://127.0.0.1:5080/LiveApp/rest/v2/broadcasts/kept
look "and can be written" answers http://127.0.0.1:5080/readyz

look "the package is installed over itself" inside "${apt[@]}" --reinstall /leafcutter.deb
look "the service runs again" answers http://127.0.0.1:5080/readyz
look "with the changed settings" answers --cacert /etc/leafcutter/cert.pem https://localhost/LiveApp/
look "and its data" answers http://127.0.0.1:5080/LiveApp/rest/v2/broadcasts/kept

look "it is removed" inside apt-get remove --yes leafcutter
look "nothing runs" not inside systemctl is-active leafcutter
look "the data stays" inside test -s /var/lib/leafcutter/leafcutter.db
look "the settings stay" inside test -s /etc/leafcutter/leafcutter.toml
look "it is purged" inside apt-get purge --yes leafcutter
look "the data is gone" not inside test -e /var/lib/leafcutter
look "the settings are gone" not inside test -e /etc/leafcutter/leafcutter.toml
look "the user is gone" not inside getent passwd leafcutter

echo "$failures failed"
[[ $failures -eq 0 ]]
