package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"

	"golang.org/x/net/http2/hpack"
)

// HTTP/2 as far as a gRPC client needs it (RFC 9113): no more work per call than two frames out and three in.

const (
	frameData, frameHeaders, frameReset, frameSettings = 0x0, 0x1, 0x3, 0x4
	framePing, frameGoAway, frameWindow, frameContinue = 0x6, 0x7, 0x8, 0x9

	flagEndStream, flagAck = 0x1, 0x1
	flagEndHeaders         = 0x4
	flagPadded             = 0x8
	flagPriority           = 0x20

	settingWindow, settingMaxFrame = 0x4, 0x5

	preface      = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
	ourWindow    = 1 << 30 // of the connection and of each stream: what comes in never waits
	firstWindow  = 65_535
	firstFrame   = 16_384
	headerLength = 9
	grpcPrefix   = 5
)

type http2 struct {
	runner *runner
	socket net.Conn
	in     *bufio.Reader
	dec    *hpack.Decoder
	block  bytes.Buffer // header block under way
	status string       // grpc-status of the block just decoded
	eaten  uint32       // bytes received that the peer was not told of

	mu       sync.Mutex // everything below
	out      *bufio.Writer
	headers  []byte
	nextID   uint32
	window   int64 // bytes that may be sent on the connection
	frame    int   // bytes that may be in a frame
	calls    map[uint32]*call
	waiting  []*call
	streamed int64 // bytes that may be sent on a new stream
}

func dialHTTP2(r *runner) (connection, error) {
	socket, err := net.Dial("tcp", r.s.target)
	if err != nil {
		return nil, err
	}
	c := &http2{
		runner: r, socket: socket, in: bufio.NewReaderSize(socket, 1<<18), out: bufio.NewWriterSize(socket, 1<<17),
		nextID: 1, window: firstWindow, streamed: firstWindow, frame: firstFrame, calls: map[uint32]*call{},
	}
	c.dec = hpack.NewDecoder(4096, func(f hpack.HeaderField) {
		if f.Name == "grpc-status" {
			c.status = f.Value
		}
	})
	_, _ = c.out.WriteString(preface)
	var setting [6]byte
	binary.BigEndian.PutUint16(setting[:], settingWindow)
	binary.BigEndian.PutUint32(setting[2:], ourWindow)
	c.write(frameSettings, 0, 0, setting[:])
	c.writeWindow(ourWindow)
	return c, c.out.Flush()
}

// encodeHeaders writes the header block of a call. The first one puts all fields into the peer's table; from the second
// on it is the same few bytes.
func (c *http2) encodeHeaders(encoder *hpack.Encoder) {
	for _, f := range []hpack.HeaderField{
		{Name: ":method", Value: "POST"}, {Name: ":scheme", Value: "http"},
		{Name: ":path", Value: c.runner.s.path}, {Name: ":authority", Value: c.runner.s.target},
		{Name: "content-type", Value: "application/grpc"}, {Name: "te", Value: "trailers"},
		{Name: "user-agent", Value: "recsvc-loadgen"}, {Name: "grpc-timeout", Value: "20S"},
	} {
		_ = encoder.WriteField(f)
	}
}

func (c *http2) start(calls []*call) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.send(calls...); err != nil {
		return err
	}
	return c.out.Flush()
}

func (c *http2) close() { _ = c.socket.Close() }

// send writes calls as far as the windows allow; the others wait for the peer to open them.
func (c *http2) send(calls ...*call) error {
	c.waiting = append(c.waiting, calls...)
	for len(c.waiting) > 0 {
		body := c.runner.feed.body(c.waiting[0].number).bytes
		size := int64(len(body) + grpcPrefix)
		if size > c.streamed {
			return fmt.Errorf("a body of %d bytes: the server's window is %d", size, c.streamed)
		}
		if size > c.window {
			return nil
		}
		c.window -= size
		c.sendOne(c.waiting[0], body)
		c.waiting = c.waiting[1:]
	}
	return nil
}

func (c *http2) sendOne(one *call, body []byte) {
	if c.nextID < 5 {
		// The second block is what all later ones are. Both have to be made by one encoder.
		var block bytes.Buffer
		encoder := hpack.NewEncoder(&block)
		c.encodeHeaders(encoder)
		if c.nextID == 3 {
			block.Reset()
			c.encodeHeaders(encoder)
		}
		c.headers = block.Bytes()
	}
	id := c.nextID
	c.nextID += 2
	c.calls[id] = one
	c.write(frameHeaders, flagEndHeaders, id, c.headers)
	message := make([]byte, grpcPrefix, grpcPrefix+len(body))
	binary.BigEndian.PutUint32(message[1:], uint32(len(body)))
	message = append(message, body...)
	for len(message) > c.frame {
		c.write(frameData, 0, id, message[:c.frame])
		message = message[c.frame:]
	}
	c.write(frameData, flagEndStream, id, message)
}

// write buffers a frame; an error comes up when the buffer is flushed.
func (c *http2) write(kind, flags byte, stream uint32, payload []byte) {
	var header [headerLength]byte
	binary.BigEndian.PutUint32(header[:], uint32(len(payload))<<8|uint32(kind))
	header[4] = flags
	binary.BigEndian.PutUint32(header[5:], stream)
	_, _ = c.out.Write(header[:])
	_, _ = c.out.Write(payload)
}

func (c *http2) writeWindow(bytes uint32) {
	var payload [4]byte
	binary.BigEndian.PutUint32(payload[:], bytes)
	c.write(frameWindow, 0, 0, payload[:])
}

func (c *http2) serve() error {
	var header [headerLength]byte
	var payload []byte
	for {
		if _, err := io.ReadFull(c.in, header[:]); err != nil {
			return err
		}
		length := int(binary.BigEndian.Uint32(header[:]) >> 8)
		if cap(payload) < length {
			payload = make([]byte, length)
		}
		payload = payload[:length]
		if _, err := io.ReadFull(c.in, payload); err != nil {
			return err
		}
		stream := binary.BigEndian.Uint32(header[5:]) &^ (1 << 31)
		if err := c.handle(header[3], header[4], stream, payload); err != nil {
			return err
		}
	}
}

// handle takes one frame, and flushes what it led to once no more frames are there.
func (c *http2) handle(kind, flags byte, stream uint32, payload []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.dispatch(kind, flags, stream, payload); err != nil {
		return err
	}
	if c.in.Buffered() < headerLength {
		return c.out.Flush()
	}
	return nil
}

func (c *http2) dispatch(kind, flags byte, stream uint32, payload []byte) error {
	switch kind {
	case frameData:
		return c.data(flags, stream, payload)
	case frameHeaders, frameContinue:
		return c.header(kind, flags, stream, payload)
	case frameReset:
		return c.end(stream, fmt.Sprintf("reset %d", binary.BigEndian.Uint32(payload)))
	case frameSettings:
		if flags&flagAck == 0 {
			c.settings(payload)
		}
	case framePing:
		if flags&flagAck == 0 {
			c.write(framePing, flagAck, 0, payload)
		}
	case frameWindow:
		if stream == 0 {
			c.window += int64(binary.BigEndian.Uint32(payload))
		}
		return c.send()
	case frameGoAway:
		return errors.New("the server closes the connection")
	}
	return nil
}

func (c *http2) settings(payload []byte) {
	for ; len(payload) >= 6; payload = payload[6:] {
		value := binary.BigEndian.Uint32(payload[2:])
		switch binary.BigEndian.Uint16(payload) {
		case settingWindow:
			c.streamed = int64(value)
		case settingMaxFrame:
			c.frame = int(value)
		}
	}
	c.write(frameSettings, flagAck, 0, nil)
}

func (c *http2) data(flags byte, stream uint32, payload []byte) error {
	c.eaten += uint32(len(payload))
	if c.eaten > ourWindow/2 {
		c.writeWindow(c.eaten)
		c.eaten = 0
	}
	one := c.calls[stream]
	if one == nil || flags&flagPadded != 0 {
		return fmt.Errorf("data for stream %d, which is none of ours, or padded", stream)
	}
	one.data = append(one.data, payload...)
	one.size += len(payload)
	if flags&flagEndStream != 0 {
		return c.end(stream, "no trailers")
	}
	return nil
}

func (c *http2) header(kind, flags byte, stream uint32, payload []byte) error {
	if kind == frameHeaders {
		if flags&flagPadded != 0 {
			payload = payload[1 : len(payload)-int(payload[0])]
		}
		if flags&flagPriority != 0 {
			payload = payload[5:]
		}
	}
	if one := c.calls[stream]; one != nil && flags&flagEndStream != 0 && kind == frameHeaders {
		one.status = "last headers" // replaced below; they may be continued
	}
	_, _ = c.block.Write(payload)
	if flags&flagEndHeaders == 0 {
		return nil
	}
	c.status = ""
	if _, err := c.dec.Write(c.block.Bytes()); err != nil {
		return err
	}
	c.block.Reset()
	if one := c.calls[stream]; one != nil && one.status != "" {
		return c.end(stream, c.status)
	}
	return nil
}

// end records a call, and sends the next one.
func (c *http2) end(stream uint32, status string) error {
	one := c.calls[stream]
	if one == nil {
		return nil
	}
	delete(c.calls, stream)
	one.status = status
	if one.size >= grpcPrefix {
		one.size -= grpcPrefix
		one.data = one.data[grpcPrefix:]
	}
	if next := c.runner.ended(one); next != nil {
		return c.send(next)
	}
	return nil
}
