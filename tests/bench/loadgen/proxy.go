package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"time"
)

const chunk = 64 << 10 // bytes read at once

// proxy passes connections on to target. What the target answers is held for delay, however much it is: the round trip
// takes longer, the line is no narrower.
func proxy(target string, delay time.Duration) error {
	runtime.GOMAXPROCS(8) // threads that sleep must not hold up the others
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(listener.Addr())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	for {
		client, err := listener.Accept()
		if err != nil {
			return err
		}
		server, err := net.Dial("tcp", target)
		if err != nil {
			_ = client.Close()
			continue
		}
		go pass(client, server)
		go passLater(server, client, delay)
	}
}

func pass(from, to net.Conn) {
	defer from.Close()
	defer to.Close()
	_, _ = io.Copy(to, from)
}

type piece struct {
	bytes []byte
	due   time.Time
}

func passLater(from, to net.Conn, delay time.Duration) {
	held := make(chan piece, 1024)
	go func() {
		defer close(held)
		for {
			bytes := make([]byte, chunk)
			n, err := from.Read(bytes)
			if n > 0 {
				held <- piece{bytes[:n], time.Now().Add(delay)}
			}
			if err != nil {
				return
			}
		}
	}()
	runtime.LockOSThread()
	sleepPrecisely()
	defer from.Close()
	defer to.Close()
	for p := range held {
		sleepUntil(p.due)
		if _, err := to.Write(p.bytes); err != nil {
			return
		}
	}
}
