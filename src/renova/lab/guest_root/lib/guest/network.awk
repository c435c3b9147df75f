# Reads a flattened network_data.json and writes one call a line for network.sh, in the order of the networks:
#   link MAC MTU | address MAC ADDRESS PREFIX | dhcp MAC | route MAC NETWORK PREFIX GATEWAY | dns ADDRESS
BEGIN { FS = "\t" }
# Only what addresses are made of gets through: the calls are run by a shell.
$2 !~ /[^-0-9A-Za-z:._]/ { value[$1] = $2 }

END {
    for (l = 0; ("links." l ".id") in value; l++) {
        mac[value["links." l ".id"]] = tolower(value["links." l ".ethernet_mac_address"])
        print "link", tolower(value["links." l ".ethernet_mac_address"]), number(value["links." l ".mtu"])
    }
    for (n = 0; ("networks." n ".type") in value; n++) {
        network = "networks." n
        at = mac[value[network ".link"]]
        if (at == "") continue
        if (value[network ".type"] == "ipv4_dhcp") print "dhcp", at
        if (value[network ".type"] != "ipv4") continue
        print "address", at, value[network ".ip_address"], prefix(value[network ".netmask"])
        for (r = 0; (network ".routes." r ".network") in value; r++) {
            route = network ".routes." r
            print "route", at, value[route ".network"], prefix(value[route ".netmask"]), value[route ".gateway"]
        }
        services(network ".")
    }
    services("")
}

function services(where,    s, name) {
    for (s = 0; (where "services." s ".type") in value; s++) {
        name = where "services." s
        if (value[name ".type"] == "dns" && !told[value[name ".address"]]++) print "dns", value[name ".address"]
    }
}

function number(text) { return text + 0 }

# Bits of a dotted mask.
function prefix(mask,    part, i, bits, octet) {
    if (split(mask, part, ".") != 4) return mask + 0
    bits = 0
    for (i = 1; i <= 4; i++) for (octet = part[i]; octet >= 1; octet = int(octet / 2)) bits += octet % 2
    return bits
}
