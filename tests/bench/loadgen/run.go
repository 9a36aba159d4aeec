package main

import (
	"fmt"
	"math/rand"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// connection sends calls and reports each one's end to the function it was made with.
type connection interface {
	// serve handles answers until the connection is closed, or fails.
	serve() error
	// start sends calls now.
	start(calls []*call) error
	close()
}

// runner drives all connections.
type runner struct {
	s        settings
	feed     *feed
	recorder *recorder
	open     atomic.Int64 // calls under way
}

const (
	drain = 30 * time.Second     // the longest that answers are waited for after the last call
	poll  = 2 * time.Millisecond // how often it is looked whether all are there
)

func run(protocol string, s settings) (*result, error) {
	bodies, err := readBodies(s.bodies)
	if err != nil {
		return nil, err
	}
	r := &runner{s: s, recorder: newRecorder(s)}
	connections, err := r.connect(protocol)
	if err != nil {
		return nil, err
	}
	cpu, began := cpuSeconds(), time.Now()
	r.feed = newFeed(bodies, s)
	r.recorder.began = began
	if err := r.drive(connections); err != nil {
		return nil, err
	}
	return r.recorder.result(time.Since(began), cpuSeconds()-cpu, r.feed.next.Load()), nil
}

func (r *runner) connect(protocol string) ([]connection, error) {
	dial := map[string]func(*runner) (connection, error){"grpc": dialHTTP2, "http": dialHTTP1}[protocol]
	if dial == nil {
		return nil, fmt.Errorf("%q is neither grpc, http nor proxy", protocol)
	}
	var all []connection
	for range r.s.connections {
		c, err := dial(r)
		if err != nil {
			return nil, err
		}
		all = append(all, c)
	}
	return all, nil
}

// next returns a call to send now, nil where there is none.
func (r *runner) next(now time.Time) *call {
	number, more := r.feed.take(now)
	if !more {
		return nil
	}
	r.open.Add(1)
	return &call{number: number, class: r.feed.body(number).class, sent: now, keep: r.recorder.wanted(number)}
}

// ended records a call, and returns the one to send instead; nil where none is.
func (r *runner) ended(c *call) *call {
	now := time.Now()
	r.recorder.done(c, now)
	var next *call
	if r.s.rate == 0 {
		next = r.next(now) // counted in before the other is counted out: open is 0 at the end only
	}
	if next != nil {
		next.data = c.data[:0]
	}
	r.open.Add(-1)
	return next
}

func (r *runner) drive(connections []connection) error {
	failed := make(chan error, len(connections))
	var serving sync.WaitGroup
	closing := atomic.Bool{}
	for _, c := range connections {
		serving.Add(1)
		go func() {
			defer serving.Done()
			if err := c.serve(); err != nil && !closing.Load() {
				failed <- err
			}
		}()
	}
	if err := r.send(connections); err != nil {
		return err
	}
	late := time.Time{}
	for r.open.Load() > 0 {
		select {
		case err := <-failed:
			return err
		case <-time.After(poll):
		}
		if late.IsZero() && !r.feed.more() {
			late = time.Now().Add(drain)
		}
		if !late.IsZero() && time.Now().After(late) {
			return fmt.Errorf("%d calls were never answered", r.open.Load())
		}
	}
	closing.Store(true)
	for _, c := range connections {
		c.close()
	}
	serving.Wait()
	return nil
}

// send starts the first calls of each connection, or all calls at their times.
func (r *runner) send(connections []connection) error {
	if r.s.rate > 0 {
		return r.pace(connections)
	}
	first := make([][]*call, len(connections))
	for i := range r.s.inFlight {
		if c := r.next(time.Now()); c != nil {
			first[i%len(connections)] = append(first[i%len(connections)], c)
		}
	}
	for i, calls := range first {
		if err := connections[i].start(calls); err != nil {
			return err
		}
	}
	return nil
}

// pace sends calls at fixed times, or at random ones of that rate, over the connections in turn. It never waits for an
// answer, so a server that is slow once is met by as many calls as one that is not. Latency counts from when a call was
// to be sent: that this program was late is no excuse for the server.
func (r *runner) pace(connections []connection) error {
	runtime.LockOSThread()
	sleepPrecisely()
	due, step := time.Now(), float64(time.Second)/r.s.rate
	random := rand.New(rand.NewSource(r.s.start + 1)) // the same times again for the same calls
	for i := 0; ; i++ {
		sleepUntil(due)
		now := time.Now()
		c := r.next(now)
		if c == nil {
			return nil
		}
		c.sent = due
		r.recorder.lags = append(r.recorder.lags, now.Sub(due))
		if r.s.poisson {
			due = due.Add(time.Duration(random.ExpFloat64() * step))
		} else {
			due = due.Add(time.Duration(step))
		}
		if err := connections[i%len(connections)].start([]*call{c}); err != nil {
			return err
		}
	}
}

// sleepPrecisely lets the kernel wake this thread when it is due, not up to 50 µs later.
func sleepPrecisely() {
	const setTimerSlack = 29
	_, _, _ = syscall.RawSyscall(syscall.SYS_PRCTL, setTimerSlack, 1, 0)
}

// sleepUntil sleeps in the kernel: Go's own timers are up to a millisecond late on an idle machine.
func sleepUntil(due time.Time) {
	if left := time.Until(due); left > 0 {
		pause := syscall.NsecToTimespec(int64(left))
		_ = syscall.Nanosleep(&pause, nil)
	}
}
