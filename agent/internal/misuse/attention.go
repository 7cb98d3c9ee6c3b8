package misuse

// attention remembers when a caller was flagged. What is flagged every few days is not looked at for long, and a caller who does something
// new often does more of it: whoever reads the flags knows the caller from the first one.
//
// Flags within some hours are of one incident; each signal is raised once in it. From then on until Config.Quiet is over, nothing is raised but
// denials and tokens of muchStronger times what it takes otherwise, which begin an incident of their own.
type attention struct {
	Since  int64 // beginning of the incident, in seconds since 1970
	Raised signs // in it
}

const (
	incident     = 4 * secondsPerHour
	muchStronger = 3
)

// raise returns the sign if it is to be raised, and 0 otherwise.
func (a *attention) raise(sign signs, strong bool, now int64, c *Config) signs {
	age := now - a.Since
	switch {
	case a.Raised != 0 && age >= -incident && age < incident:
		sign &^= a.Raised
		a.Raised |= sign
		return sign
	case a.Raised != 0 && age >= 0 && age < seconds(c.Quiet) && !strong:
		return 0
	}
	if age >= seconds(c.Quiet) || age < 0 {
		a.Raised = 0
	}
	a.Since, a.Raised = now, a.Raised|sign
	return sign
}
