package rules

// The macros of a host's standing.
const (
	StateOffences  = "CONNECT_STATE_OFFENCES"
	PortsOffences  = "CONNECT_PORTS_OFFENCES"
	RecentOffences = "CONNECT_RECENT_OFFENCES"
	Parole         = "CONNECT_PAROLE"
)

// Seconds reads a period as Exim does, such as 1h30m, 0 when it is none.
func Seconds(period string) float64 {
	units := map[byte]float64{'w': 604800, 'd': 86400, 'h': 3600, 'm': 60, 's': 1}
	sum, n, digits := 0.0, 0.0, false
	for i := 0; i < len(period); i++ {
		if c := period[i]; c >= '0' && c <= '9' {
			n, digits = n*10+float64(c-'0'), true
		} else if u, ok := units[c]; ok && digits {
			sum, n, digits = sum+n*u, 0, false
		} else {
			return 0
		}
	}
	if digits {
		return 0
	}
	return sum
}
