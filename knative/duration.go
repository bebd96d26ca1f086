package knative

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

var isoDuration = compiled(`^P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?$`)

// parseDuration parses a positive ISO 8601 duration of days, hours, minutes and seconds, such as PT0.3S. It refuses years,
// months and weeks, since no wait of a delivery is that long, and zero or negative values, which Knative does not reject
// itself.
func parseDuration(text string) (time.Duration, error) {
	refused := fmt.Errorf("%q is no positive ISO 8601 duration: write it like PT0.3S or PT30S", text)
	parts := isoDuration().FindStringSubmatch(text)
	if parts == nil || strings.HasSuffix(text, "T") {
		return 0, refused
	}
	var seconds float64
	for i, unit := range []float64{24 * 60 * 60, 60 * 60, 60, 1} {
		if parts[i+1] == "" {
			continue
		}
		n, err := strconv.ParseFloat(parts[i+1], 64)
		if err != nil {
			return 0, refused
		}
		seconds += n * unit
	}
	nanoseconds := math.Round(seconds * float64(time.Second))
	if nanoseconds < 1 || nanoseconds >= math.MaxInt64 {
		return 0, refused
	}
	return time.Duration(nanoseconds), nil
}
