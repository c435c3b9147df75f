#!/bin/sh
# Sets up the network as the config drive's network_data.json says; without one, by DHCP on every nic.
#   network.sh NETWORK_DATA_JSON

# Name the nic with this MAC.
nic() {
    for candidate in /sys/class/net/*; do
        read -r found <"$candidate/address"
        if [ "$found" = "$1" ]; then
            echo "${candidate##*/}"
            return
        fi
    done
    echo "GUEST-NETWORK no nic has the MAC $1" >/dev/console
    return 1
}

link() {
    nic=$(nic "$1") || return
    [ "$2" -gt 0 ] && ip link set "$nic" mtu "$2"
    ip link set "$nic" up
}

address() {
    nic=$(nic "$1") || return
    ip addr add "$2/$3" broadcast + dev "$nic"
    # In the background: it waits a second between its announcements.
    arping -q -U -c 3 -I "$nic" "$2" &
}

dhcp() {
    nic=$(nic "$1") || return
    ip link set "$nic" up
    udhcpc -i "$nic" -s /usr/share/udhcpc/default.script -b -S -t 8 -T 1 -A 3 -R -x "hostname:$(hostname)" >/dev/null 2>&1
}

# Of several default routes the one told first is preferred.
metric=0
route() {
    nic=$(nic "$1") || return
    metric=$((metric + 1))
    ip route add "$2/$3" via "$4" dev "$nic" metric $metric
}

dns() { echo "nameserver $1" >>/etc/resolv.conf; }

: >/etc/resolv.conf
if [ -f "$1" ]; then
    awk -f /lib/guest/json.awk "$1" | awk -f /lib/guest/network.awk >/run/network
    . /run/network
else
    for nic in /sys/class/net/eth*; do
        [ -e "$nic" ] && read -r mac <"$nic/address" && dhcp "$mac"
    done
fi
