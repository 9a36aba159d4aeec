package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
)

// http1 is a connection that posts JSON, one call at a time.
type http1 struct {
	runner *runner
	socket net.Conn
	in     *bufio.Reader
	first  chan *call
}

func dialHTTP1(r *runner) (connection, error) {
	if r.s.inFlight > r.s.connections || r.s.rate > 0 {
		return nil, fmt.Errorf("http has one call at a time per connection, and no rate")
	}
	socket, err := net.Dial("tcp", r.s.target)
	if err != nil {
		return nil, err
	}
	return &http1{r, socket, bufio.NewReaderSize(socket, 1<<18), make(chan *call, 1)}, nil
}

func (c *http1) start(calls []*call) error {
	for _, one := range calls {
		c.first <- one
	}
	close(c.first)
	return nil
}

func (c *http1) close() { _ = c.socket.Close() }

func (c *http1) serve() error {
	for one := <-c.first; one != nil; one = c.runner.ended(one) {
		if err := c.exchange(one); err != nil {
			return err
		}
	}
	return nil
}

func (c *http1) exchange(one *call) error {
	body := c.runner.feed.body(one.number).bytes
	var request bytes.Buffer
	fmt.Fprintf(&request, "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n",
		c.runner.s.path, c.runner.s.target, len(body))
	_, _ = request.Write(body)
	if _, err := c.socket.Write(request.Bytes()); err != nil {
		return err
	}
	response, err := http.ReadResponse(c.in, nil)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	reply, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	one.size, one.data, one.status = len(reply), reply, strconv.Itoa(response.StatusCode)
	return nil
}
