package bench

import (
	"fmt"
	"io"
	"math"
	"net/http"
	"strings"
	"time"
)

// Moment is an interval of a load: its rates per second, and the POST-to-CONFIRMED latencies of the orders confirmed in it.
type Moment struct {
	Seconds   float64 `json:"s"` // its end, since the start of the load
	Accepted  float64 `json:"acceptedPerSecond"`
	Confirmed float64 `json:"confirmedPerSecond"`
	P50       float64 `json:"p50"`
	P99       float64 `json:"p99"`
}

// moments is the number of intervals of a load, none shorter than shortest.
const (
	moments  = 60
	shortest = 100 * time.Millisecond
)

func timeline(all samples) []Moment {
	var end time.Duration
	for i := range all {
		end = max(end, all[i].answered, all[i].ended)
	}
	step := max(shortest, end/moments)
	n := int(end/step) + 1
	line, times := make([]Moment, n), make([]histogram, n)
	for i := range all {
		if all[i].status == http.StatusCreated {
			line[all[i].answered/step].Accepted += 1 / step.Seconds()
		}
		if all[i].end == confirmed {
			at := all[i].ended / step
			line[at].Confirmed += 1 / step.Seconds()
			if times[at].h == nil {
				times[at] = newHistogram()
			}
			times[at].add(all[i].ended - all[i].due)
		}
	}
	for i := range line {
		line[i].Seconds = (time.Duration(i+1) * step).Seconds()
		if times[i].h != nil {
			l := times[i].latency()
			line[i].P50, line[i].P99 = l.P50, l.P99
		}
	}
	return line
}

// Size of the plot and of its two panels, in pixels.
const (
	plotWidth, plotHeight   = 800, 520
	panelWidth, panelHeight = 700, 180
	panelLeft               = 70
)

// Plot draws throughput and latency over time, for light and dark backgrounds.
func (r *Report) Plot(out io.Writer) error {
	var svg strings.Builder
	head(&svg, fmt.Sprintf("%d orders: %.0f confirmed/s, POST to CONFIRMED p50 %.1f ms, p99 %.1f ms",
		r.Accepted, r.ConfirmedPerSecond, r.PostToConfirmed.P50, r.PostToConfirmed.P99))
	rates := panel{title: "orders per second", names: [2]string{"accepted", "confirmed"}, unit: " s", digits: 1}
	times := panel{title: "POST to CONFIRMED, ms", names: [2]string{"p50", "p99"}, unit: " s", digits: 1}
	for _, m := range r.Timeline {
		rates.points = append(rates.points, mark{m.Seconds, [2]float64{m.Accepted, m.Confirmed}})
		times.points = append(times.points, mark{m.Seconds, [2]float64{m.P50, m.P99}})
	}
	return draw(out, &svg, rates, times)
}

// head begins a picture with a title.
func head(svg *strings.Builder, title string) {
	fmt.Fprintf(svg, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">
<style>
 svg { background: #fff; --ink: #222; --grid: #ddd; --one: #0b62b8; --two: #b34700; }
 @media (prefers-color-scheme: dark) { svg { background: #161616; --ink: #ddd; --grid: #3a3a3a; --one: #6cb4ff; --two: #ffa657; } }
 text { fill: var(--ink); } .grid { stroke: var(--grid); } .one { stroke: var(--one); } .two { stroke: var(--two); }
 text.one { fill: var(--one); stroke: none; } text.two { fill: var(--two); stroke: none; } polyline { fill: none; stroke-width: 1.8; }
</style>
<title>%s</title>
`, plotWidth, plotHeight, title)
}

// draw draws two panels, one below the other, and writes the picture.
func draw(out io.Writer, svg *strings.Builder, upper, lower panel) error {
	upper.draw(svg, 40)
	lower.draw(svg, 40+panelHeight+70)
	svg.WriteString("</svg>\n")
	_, err := io.WriteString(out, svg.String())
	return err
}

// panel is two lines over one axis.
type panel struct {
	title  string
	names  [2]string
	unit   string // of the axis, behind its numbers
	digits int    // of its last number, behind the point
	points []mark
}

// mark is a point of both lines.
type mark struct {
	at     float64
	values [2]float64
}

// draw draws the panel below top.
func (p panel) draw(svg *strings.Builder, top int) {
	highest, end := 0.0, 0.0
	for _, m := range p.points {
		highest, end = max(highest, m.values[0], m.values[1]), m.at
	}
	step := gridStep(highest)
	ceiling := max(step, math.Ceil(highest/step)*step)
	fmt.Fprintf(svg, `<text x="%d" y="%d">%s</text><text class="one" x="%d" y="%d">%s</text><text class="two" x="%d" y="%d">%s</text>`+"\n",
		panelLeft, top-12, p.title, panelLeft+300, top-12, p.names[0], panelLeft+400, top-12, p.names[1])
	for level := 0.0; level <= ceiling; level += step {
		y := float64(top) + panelHeight*(1-level/ceiling)
		fmt.Fprintf(svg, `<line class="grid" x1="%d" x2="%d" y1="%.1f" y2="%.1f"/><text x="%d" y="%.1f" text-anchor="end">%g</text>`+"\n",
			panelLeft, panelLeft+panelWidth, y, y, panelLeft-8, y+4, level)
	}
	fmt.Fprintf(svg, `<text x="%d" y="%d">0%s</text><text x="%d" y="%d" text-anchor="end">%.*f%s</text>`+"\n",
		panelLeft, top+panelHeight+18, p.unit, panelLeft+panelWidth, top+panelHeight+18, p.digits, end, p.unit)
	for i, class := range []string{"one", "two"} {
		fmt.Fprintf(svg, `<polyline class=%q points="`, class)
		for _, m := range p.points {
			fmt.Fprintf(svg, "%.1f,%.1f ", panelLeft+panelWidth*m.at/end, float64(top)+panelHeight*(1-m.values[i]/ceiling))
		}
		svg.WriteString("\"/>\n")
	}
}

// gridStep returns a round step with three to seven lines up to a value.
func gridStep(highest float64) float64 {
	if highest <= 0 {
		return 1
	}
	power := math.Pow(10, math.Floor(math.Log10(highest)))
	switch lead := highest / power; {
	case lead < 2:
		return power / 4
	case lead < 5:
		return power
	default:
		return 2 * power
	}
}
