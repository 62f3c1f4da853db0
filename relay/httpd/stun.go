package httpd

// stunFamilies are the STUN responder's counters, under upstream's names.
func stunFamilies(c Config) []labelled {
	if c.STUN == nil {
		return nil
	}
	s := c.STUN()
	by := func(family, name, value string, n uint64) labelled {
		return labelled{family: family, labels: []label{{name, value}}, value: n}
	}
	return []labelled{
		by("stun_requests", "disposition", "read_error", s.ReadErrors),
		by("stun_requests", "disposition", "not_stun", s.NotSTUN),
		by("stun_requests", "disposition", "write_error", s.WriteErrors),
		by("stun_requests", "disposition", "success", s.Successes),
		by("stun_addrfamily", "family", "ipv4", s.IPv4),
		by("stun_addrfamily", "family", "ipv6", s.IPv6),
		{family: "stun_no_local_addr", value: s.NoLocalAddr},
	}
}
