// Loadgen is the load of the read benchmarks, and a proxy that delays answers.
//
//	loadgen grpc  -target HOST:PORT -path /package.Service/Method -bodies FILE ...
//	loadgen http  -target HOST:PORT -path /path                   -bodies FILE ...
//	loadgen proxy -target HOST:PORT -delay 1ms
//
// The first two send the bodies of a file, one after the other, and print one JSON object (type result). A body is sent
// as it stands in the file, so that next to nothing is computed here: on one core the server must be the bottleneck, not
// this. The third prints the address it listens on, and ends when its standard input does.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"runtime"
	"time"
)

// settings are the flags of the generators.
type settings struct {
	target, path, bodies string
	start                int64         // number of the first body
	count                int64         // calls to make; 0: as many as there is time for
	time                 time.Duration // how long; 0: until count calls are made
	connections          int
	inFlight             int     // calls at once, over all connections
	rate                 float64 // calls per second, whatever the answers do; 0: as fast as they come
	poisson              bool    // with a rate: at random times, not at fixed ones
	watch                watched // fields of replies that are looked at
	keep                 int64   // every so many-th reply is printed
	most                 int     // at most so many are
}

func main() {
	if len(os.Args) < 2 {
		fail(fmt.Errorf("loadgen grpc|http|proxy"))
	}
	flags := flag.NewFlagSet(os.Args[1], flag.ExitOnError)
	var s settings
	flags.StringVar(&s.target, "target", "", "HOST:PORT")
	flags.StringVar(&s.path, "path", "", "of the method")
	flags.StringVar(&s.bodies, "bodies", "", "file of requests")
	flags.Int64Var(&s.start, "start", 0, "number of the first body")
	flags.Int64Var(&s.count, "count", 0, "calls to make")
	flags.DurationVar(&s.time, "time", 0, "how long")
	flags.IntVar(&s.connections, "connections", 1, "connections")
	flags.IntVar(&s.inFlight, "in-flight", 1, "calls at once")
	flags.Float64Var(&s.rate, "rate", 0, "calls per second")
	flags.BoolVar(&s.poisson, "poisson", false, "calls come at random times of that rate")
	flags.Func("watch", "fields of the replies to count, such as 7,10.1", func(list string) (err error) {
		s.watch, err = readWatched(list)
		return err
	})
	flags.Int64Var(&s.keep, "keep", 97, "print every so many-th reply")
	flags.IntVar(&s.most, "most", 0, "print at most so many replies")
	delay := flags.Duration("delay", time.Millisecond, "what the proxy adds to a round trip")
	_ = flags.Parse(os.Args[2:])

	if os.Args[1] == "proxy" {
		fail(proxy(s.target, *delay))
		return
	}
	if s.rate > 0 {
		runtime.GOMAXPROCS(4) // a thread that sleeps must not hold up the one that reads answers
	} else {
		runtime.GOMAXPROCS(1)
	}
	found, err := run(os.Args[1], s)
	fail(err)
	fail(json.NewEncoder(os.Stdout).Encode(found))
}

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "loadgen:", err)
		os.Exit(1)
	}
}
