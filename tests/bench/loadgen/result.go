package main

import (
	"bytes"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// call is one request under way.
type call struct {
	number int64
	class  byte
	sent   time.Time
	size   int    // bytes of the reply so far
	data   []byte // these bytes; the next call uses the room again
	keep   bool
	status string
}

// sample is a whole reply.
type sample struct {
	Number int64  `json:"number"` // of the body that it answers
	Reply  []byte `json:"reply"`  // base64 in JSON
}

// latencies are in milliseconds.
type latencies struct {
	Calls int     `json:"calls"`
	P50   float64 `json:"p50"`
	P90   float64 `json:"p90"`
	P99   float64 `json:"p99"`
	Most  float64 `json:"most"`
	Mean  float64 `json:"mean"`
}

type result struct {
	Seconds  float64              `json:"seconds"`
	CPU      float64              `json:"cpu_seconds"` // of this program meanwhile
	Next     int64                `json:"next"`        // number of the first body not sent
	All      latencies            `json:"all"`
	Classes  map[string]latencies `json:"classes"`
	Statuses map[string]int       `json:"statuses"` // "0" is OK in gRPC, "200" in HTTP
	Sizes    map[string]int       `json:"sizes"`    // bytes of the reply -> how many
	Samples  []sample             `json:"samples"`
	Firsts   []sample             `json:"firsts"`  // the first reply of each size, of the first few sizes
	Lag      float64              `json:"lag_p99"` // with a rate: how late calls were sent, ms
	Seen     map[string]int       `json:"seen"`    // what the fields that are watched were, by class -> how many
	Course   []second             `json:"course"`  // with fields that are watched: second by second, by when calls were sent
}

// second is what came of the calls of one second. Calls that failed are seen as their status.
type second struct {
	All  latencies      `json:"all"`
	Seen map[string]int `json:"seen"`
}

// recorder collects what calls came to.
type recorder struct {
	mu       sync.Mutex
	keep     int64
	most     int
	took     map[byte][]time.Duration
	statuses map[string]int
	sizes    map[int]int
	samples  []sample
	firsts   []sample
	lags     []time.Duration
	watch    watched
	began    time.Time
	seen     map[string]int
	course   []moment
}

// moment is a second that is not over.
type moment struct {
	took []time.Duration
	seen map[string]int
}

const mostFirsts = 8

func newRecorder(s settings) *recorder {
	return &recorder{keep: s.keep, most: s.most, took: map[byte][]time.Duration{}, statuses: map[string]int{}, sizes: map[int]int{}, watch: s.watch, seen: map[string]int{}}
}

// wanted says whether the reply to a call is to be kept.
func (r *recorder) wanted(number int64) bool {
	return r.most > 0 && number%r.keep == 0
}

func (r *recorder) done(c *call, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.took[c.class] = append(r.took[c.class], now.Sub(c.sent))
	r.statuses[c.status]++
	if len(r.watch) > 0 {
		r.look(c, now)
	}
	if r.sizes[c.size]++; r.sizes[c.size] == 1 && len(r.firsts) < mostFirsts {
		r.firsts = append(r.firsts, sample{c.number, bytes.Clone(c.data)})
	}
	if c.keep && len(r.samples) < r.most {
		r.samples = append(r.samples, sample{c.number, bytes.Clone(c.data)})
	}
}

// look counts what the watched fields of a reply are.
func (r *recorder) look(c *call, now time.Time) {
	found := "status " + c.status
	if c.status == okInGRPC {
		found = fields(c.data, r.watch)
	}
	r.seen[strconv.Itoa(int(c.class))+": "+found]++
	at := max(0, int(c.sent.Sub(r.began)/time.Second))
	for len(r.course) <= at {
		r.course = append(r.course, moment{seen: map[string]int{}})
	}
	r.course[at].took = append(r.course[at].took, now.Sub(c.sent))
	r.course[at].seen[found]++
}

func (r *recorder) result(took time.Duration, cpu float64, next int64) *result {
	found := &result{Seconds: took.Seconds(), CPU: cpu, Next: next, Classes: map[string]latencies{}, Statuses: r.statuses, Sizes: map[string]int{}, Samples: r.samples, Firsts: r.firsts}
	var all []time.Duration
	for class, values := range r.took {
		found.Classes[strconv.Itoa(int(class))] = summary(values)
		all = append(all, values...)
	}
	found.All = summary(all)
	for size, times := range r.sizes {
		found.Sizes[strconv.Itoa(size)] = times
	}
	found.Lag = summary(r.lags).P99
	found.Seen = r.seen
	for _, m := range r.course {
		found.Course = append(found.Course, second{summary(m.took), m.seen})
	}
	return found
}

func summary(values []time.Duration) latencies {
	if len(values) == 0 {
		return latencies{}
	}
	slices.Sort(values)
	var sum time.Duration
	for _, v := range values {
		sum += v
	}
	at := func(share float64) float64 { return milliseconds(values[int(share*float64(len(values)-1))]) }
	return latencies{len(values), at(.5), at(.9), at(.99), at(1), milliseconds(sum) / float64(len(values))}
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// cpuSeconds returns what this process has used so far.
func cpuSeconds() float64 {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		return 0
	}
	return float64(used.Utime.Nano()+used.Stime.Nano()) / 1e9
}
