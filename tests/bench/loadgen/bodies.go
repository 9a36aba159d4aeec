package main

import (
	"encoding/binary"
	"fmt"
	"os"
	"sync/atomic"
	"time"
)

// body is one request; latencies are told apart by its class.
type body struct {
	class byte
	bytes []byte
}

// readBodies reads a file of (length uint32 little-endian, class byte, bytes).
func readBodies(path string) ([]body, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var all []body
	for len(data) > 0 {
		if len(data) < 5 {
			return nil, fmt.Errorf("%s ends within a body", path)
		}
		end := 5 + int(binary.LittleEndian.Uint32(data))
		if end > len(data) {
			return nil, fmt.Errorf("%s ends within a body", path)
		}
		all = append(all, body{data[4], data[5:end]})
		data = data[end:]
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%s is empty", path)
	}
	return all, nil
}

// feed deals out the bodies in order, from the first again after the last, until it is told to stop.
type feed struct {
	bodies []body
	next   atomic.Int64
	end    int64
	until  time.Time
}

func newFeed(bodies []body, s settings) *feed {
	f := &feed{bodies: bodies, end: s.start + s.count}
	if s.count == 0 {
		f.end = 1 << 62
	}
	f.next.Store(s.start)
	if s.time > 0 {
		f.until = time.Now().Add(s.time)
	}
	return f
}

// take returns the number of the next call, false where there is none.
func (f *feed) take(now time.Time) (int64, bool) {
	if !f.until.IsZero() && now.After(f.until) {
		return 0, false
	}
	number := f.next.Add(1) - 1
	if number >= f.end {
		f.next.Add(-1)
		return 0, false
	}
	return number, true
}

// more says whether there will be another call.
func (f *feed) more() bool {
	return f.next.Load() < f.end && (f.until.IsZero() || time.Now().Before(f.until))
}

func (f *feed) body(number int64) body {
	return f.bodies[number%int64(len(f.bodies))]
}
