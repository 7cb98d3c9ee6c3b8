package identity

import (
	"errors"
	"fmt"
	"slices"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// maxSPIFFE is the longest SPIFFE ID, in bytes (SPIFFE-ID.md section 2.3).
const maxSPIFFE = 2048

// parseSPIFFE returns the trust domain of a SPIFFE ID as it stands in a certificate or a token. The trust domain must be one of domains,
// and there must be a path: an ID without one names the trust domain's own authority and no workload (SPIFFE-ID.md section 2.2).
//
// The ID is read as text, byte for byte. A URL parser would first turn SPIFFE:// into spiffe:// and drop an empty fragment, and two
// spellings would then be one caller.
func parseSPIFFE(id string, domains []string) (trustDomain string, err error) {
	if len(id) > maxSPIFFE {
		return "", fmt.Errorf("SPIFFE ID has %d bytes, more than %d", len(id), maxSPIFFE)
	}
	parsed, err := spiffeid.FromString(id)
	if err != nil {
		return "", fmt.Errorf("%s is not a SPIFFE ID: %w", shown(id), err)
	}
	if parsed.Path() == "" {
		return "", fmt.Errorf("SPIFFE ID %s has no path: it names a trust domain", shown(id))
	}
	domain := parsed.TrustDomain().Name()
	if !slices.Contains(domains, domain) {
		return "", fmt.Errorf("trust domain %s is not accepted", shown(domain))
	}
	return domain, nil
}

// checkTrustDomain refuses what cannot be the trust domain of a SPIFFE ID.
func checkTrustDomain(name string) error {
	const longest = 255 // SPIFFE-ID.md section 2.3
	if len(name) > longest {
		return fmt.Errorf("trust domain has %d bytes, more than %d", len(name), longest)
	}
	parsed, err := spiffeid.TrustDomainFromString(name)
	if err != nil {
		return fmt.Errorf("trust domain %q: %w", name, err)
	}
	if parsed.Name() != name { // it takes a whole SPIFFE ID, too
		return errors.New("trust domain is written without spiffe:// and path")
	}
	return nil
}
