package forbidden

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

// Networks are those of the registries of special addresses at IANA, and what embeds IPv4
// addresses.
func Networks() []netip.Prefix {
	var all []netip.Prefix
	for _, text := range []string{
		"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24",
		"192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4", "255.255.255.255/32",
		"::/128", "::1/128", "fc00::/7", "fe80::/10", "ff00::/8", "2001:db8::/32", "3fff::/20", "100::/64", "2002::/16", "64:ff9b::/96", "64:ff9b:1::/48", "5f00::/16",
		"::127.0.0.0/104", "::ffff:127.0.0.0/104", "::ffff:10.0.0.0/104", "::ffff:0:127.0.0.0/104", "2001::/32",
	} {
		all = append(all, netip.MustParsePrefix(text))
	}
	return all
}

// Ends are the first and the last address of each network.
func Ends() []netip.Addr {
	var all []netip.Addr
	for _, p := range Networks() {
		all = append(all, p.Addr(), last(p))
	}
	return append(all, netip.MustParseAddr("169.254.169.254"), netip.MustParseAddr("fd00:ec2::254")) // where clouds keep credentials
}

// last is the last address of a network.
func last(p netip.Prefix) netip.Addr {
	bytes := p.Addr().AsSlice()
	for bit := p.Bits(); bit < p.Addr().BitLen(); bit++ {
		bytes[bit/8] |= 1 << (7 - bit%8)
	}
	addr, _ := netip.AddrFromSlice(bytes)
	return addr
}

// Hosts are the ends in all their spellings, as hosts of a URL.
func Hosts() []string {
	var all []string
	for _, addr := range Ends() {
		if !addr.Is4() {
			all = append(all, "["+addr.String()+"]", "["+addr.StringExpanded()+"]")
			continue
		}
		all = append(all, spellings(addr)...)
	}
	return append(all,
		"[::1%25lo]", "[fe80::1%25eth0]", "localhost", "LocalHost", "localhost.",
		"256.256.256.256", "1.2.3.4.5", "0", "0x", "127.0.0.1.", "2130706433.",
		"\uff11\uff12\uff17.0.0.1", "127\u30020\uff0e0\uff611", "\u2460\u2461\u2466.0.0.1", "\uff4cocalhost", // as wide or circled characters
	)
}

// spellings are those of inet_aton for an IPv4 address, and the addresses of IPv6 that
// carry it: mapped, compatible, translated, NAT64 and 6to4.
func spellings(addr netip.Addr) []string {
	b := addr.As4()
	n := binary.BigEndian.Uint32(b[:])
	all := []string{addr.String()}
	for _, text := range []string{
		fmt.Sprint(n), fmt.Sprintf("0%o", n), fmt.Sprintf("0x%x", n), fmt.Sprintf("0X%X", n),
		fmt.Sprintf("0%o.0%o.0%o.0%o", b[0], b[1], b[2], b[3]), fmt.Sprintf("0x%x.0x%x.0x%x.0x%x", b[0], b[1], b[2], b[3]),
		fmt.Sprintf("%d.%d", b[0], n&0xffffff), fmt.Sprintf("%d.%d.%d", b[0], b[1], n&0xffff), fmt.Sprintf("0x%x.%d", b[0], n&0xffffff),
		fmt.Sprintf("%03d.%03d.%03d.%03d", b[0], b[1], b[2], b[3]),
	} {
		if text != addr.String() {
			all = append(all, text)
		}
	}
	high, low := n>>16, n&0xffff
	return append(all,
		fmt.Sprintf("[::ffff:%s]", addr), fmt.Sprintf("[::ffff:%x:%x]", high, low), fmt.Sprintf("[0:0:0:0:0:ffff:%s]", addr),
		fmt.Sprintf("[::ffff:0:%x:%x]", high, low), fmt.Sprintf("[64:ff9b::%s]", addr), fmt.Sprintf("[64:ff9b:1::%x:%x]", high, low),
		fmt.Sprintf("[2002:%x:%x::]", high, low), fmt.Sprintf("[2002:%x:%x::1]", high, low),
	)
}
