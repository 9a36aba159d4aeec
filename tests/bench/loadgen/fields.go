package main

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

const (
	okInGRPC   = "0"
	mostFields = 63
	broken     = "broken"

	varint, fixed64, delimited, fixed32 = 0, 1, 2, 5
)

// watched are numbers of fields to look at, and for messages which field within them; 0: none.
type watched map[uint64]uint64

// readWatched reads a list such as `7,10.1`.
func readWatched(list string) (watched, error) {
	found := watched{}
	for _, text := range strings.Split(list, ",") {
		outer, inner, _ := strings.Cut(text, ".")
		number, err := strconv.ParseUint(outer, 10, 8)
		if err != nil || number < 1 || number > mostFields {
			return nil, fmt.Errorf("%q is no field number up to %d", text, mostFields)
		}
		within := uint64(0)
		if inner != "" {
			if within, err = strconv.ParseUint(inner, 10, 8); err != nil {
				return nil, fmt.Errorf("%q: %q is no field number", text, inner)
			}
		}
		found[number] = within
	}
	return found, nil
}

// field is one of a protobuf message: its number, its value where that is a varint, its bytes where it has a length.
type field struct {
	number, value uint64
	bytes         []byte
}

// cut takes the first field off a message; false where it is none.
func cut(message []byte) (field, []byte, bool) {
	tag, n := binary.Uvarint(message)
	if n <= 0 {
		return field{}, nil, false
	}
	message = message[n:]
	one, size := field{number: tag >> 3}, 0
	switch tag & 7 {
	case varint:
		one.value, size = binary.Uvarint(message)
	case fixed64:
		size = 8
	case fixed32:
		size = 4
	case delimited:
		length, n := binary.Uvarint(message)
		if n <= 0 || length > uint64(len(message)-n) {
			return field{}, nil, false
		}
		size = n + int(length)
		one.bytes = message[n:size]
	}
	if size <= 0 || size > len(message) {
		return field{}, nil, false
	}
	return one, message[size:], true
}

// fields says which of the watched fields a protobuf message has: `7=1` for a number, `3x10` for one that is there ten
// times, `10.1=8` for a number within one. A message that is none is `broken`.
func fields(message []byte, watch watched) string {
	var counts, values [mostFields + 1]uint64
	var within []string
	for len(message) > 0 {
		one, rest, right := cut(message)
		if !right {
			return broken
		}
		message = rest
		inner, wanted := watch[one.number]
		if !wanted {
			continue
		}
		counts[one.number]++
		values[one.number] = one.value
		for inside := one.bytes; inner != 0 && len(inside) > 0; {
			if one, inside, right = cut(inside); !right {
				return broken
			}
			if one.number == inner {
				within = append(within, fmt.Sprintf(".%d=%d", inner, one.value))
			}
		}
	}
	var found []string
	for number, count := range counts {
		switch {
		case count == 0:
		case values[number] > 0:
			found = append(found, fmt.Sprintf("%d=%d", number, values[number]))
		default:
			found = append(found, fmt.Sprintf("%dx%d", number, count))
		}
	}
	slices.Sort(within)
	return strings.Join(append(found, slices.Compact(within)...), " ")
}
