package httpd

import (
	"derpd/relay"
	"derpd/relay/admit"
)

// serviceFamilies are the counters of what stands beside the relay, as far as it is there:
// STUN, the TLS listener, client rates, bootstrap DNS, admission and ACME.
func serviceFamilies(c Config, s *relay.Snapshot) []labelled {
	all := stunFamilies(c)
	add := func(family string, gauge bool, v uint64, labels ...label) {
		all = append(all, labelled{family, gauge, labels, v})
	}
	if c.TLS {
		rejected := s.Ends[relay.EndAcceptLimit]
		add("tls_listener_accepted_connections", false, s.Accepts-rejected)
		add("tls_listener_rejected_connections", false, rejected)
	}
	if c.Rate != nil {
		lim := c.Rate()
		add("derp_rate_limit_per_client_bytes_per_second", true, lim.BytesPerSec)
		add("derp_rate_limit_per_client_burst_bytes", true, lim.BurstBytes)
	}
	if c.Bootstrap != nil {
		b := c.Bootstrap.Stats()
		add("bootstrap_dns_requests", false, b.Requests)
		add("bootstrap_dns_published_hits", false, b.PublishedHits)
		add("bootstrap_dns_published_misses", false, b.PublishedMisses)
		add("bootstrap_dns_unpublished_hits", false, b.UnpublishedHits)
		add("bootstrap_dns_unpublished_misses", false, b.UnpublishedMisses)
		add("bootstrap_dns_unpublished_percent_misses", false, b.UnpublishedPercentMisses)
		// derper's type, though it may shrink: names are forgotten when there are many.
		add("bootstrap_dns_queried_domains", false, b.QueriedDomains)
	}
	return append(all, accessFamilies(c)...)
}

// accessFamilies are our own: derper counts neither admissions nor certificates.
func accessFamilies(c Config) (all []labelled) {
	add := func(family string, gauge bool, v uint64, labels ...label) {
		all = append(all, labelled{family, gauge, labels, v})
	}
	if c.Admit != nil {
		a := c.Admit()
		for why, n := range a.Answers {
			add("derp_admissions", false, n, label{"answer", admit.Reason(why).String()})
		}
		add("derp_admissions_cached", false, a.Cached)
		add("derp_admissions_joined", false, a.Joined)
		add("derp_admissions_waiting", true, uint64(a.Waiting))
		add("derp_admissions_asking", true, uint64(a.Asking))
		add("derp_admission_service_lost", true, truth(a.TailscaledLost),
			label{"service", "tailscaled"})
		add("derp_admission_service_lost", true, truth(a.URLLost), label{"service", "url"})
	}
	if c.ACME != nil {
		a := c.ACME()
		add("derp_certificates_issued", false, a.Issued)
		add("derp_certificates_failed", false, a.Failed)
		add("derp_certificates_validated", false, a.Validated)
		add("derp_certificate_misses", false, a.Misses)
		add("derp_certificate_refusals", false, a.Refused)
		if !a.NotAfter.IsZero() {
			add("derp_certificate_not_after", true, uint64(a.NotAfter.Unix()))
		}
	}
	if c.CertEnd != nil {
		add("derp_certificate_not_after", true, uint64(c.CertEnd().Unix()))
	}
	return all
}

func truth(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}

// serviceHelp is what the families of the services count.
var serviceHelp = map[string]string{
	"stun_requests":      "Datagrams to the STUN port, by what became of them.",
	"stun_addrfamily":    "STUN requests, by address family of the sender.",
	"stun_no_local_addr": "STUN requests whose local address the kernel did not tell.",

	"tls_listener_accepted_connections": "Connections to the TLS port within the accept limit.",
	"tls_listener_rejected_connections": "Connections to the TLS port beyond the accept limit.",

	"derp_rate_limit_per_client_bytes_per_second": "What each client may send; 0 is no limit.",
	"derp_rate_limit_per_client_burst_bytes":      "What each client may send at once.",

	"bootstrap_dns_requests":                   "Requests for /bootstrap-dns.",
	"bootstrap_dns_published_hits":             "Requests for a published name.",
	"bootstrap_dns_published_misses":           "Requests for a published name without address.",
	"bootstrap_dns_unpublished_hits":           "Requests for an unpublished name.",
	"bootstrap_dns_unpublished_misses":         "Requests for a name that was not told.",
	"bootstrap_dns_unpublished_percent_misses": "Requests from clients outside a name's share.",
	"bootstrap_dns_queried_domains":            "Different names that clients asked for.",

	"derp_admissions":             "Logins that were checked, by answer.",
	"derp_admissions_cached":      "Logins that were answered from the cache.",
	"derp_admissions_joined":      "Logins that shared another login's check.",
	"derp_admissions_waiting":     "Logins that wait for their check.",
	"derp_admissions_asking":      "Checks that are being asked for.",
	"derp_admission_service_lost": "Whether a service that admits was not reached lately.",
	"derp_certificates_issued":    "Certificates that the authority issued.",
	"derp_certificates_failed":    "Attempts to get a certificate that failed.",
	"derp_certificates_validated": "Answers given to the authority's validation.",
	"derp_certificate_misses":     "Handshakes for a name without a certificate yet.",
	"derp_certificate_refusals":   "Handshakes for names that are not ours.",
	"derp_certificate_not_after":  "When the first certificate ends, in seconds since 1970.",
}
