package main

import (
	"errors"
	"fmt"
)

// unpickle reads a pickled Python value made of dictionaries, lists and strings
// only, as map[string]any, []any and string. It knows the eleven instructions
// that such a value needs, and none of those that call anything.
func unpickle(data []byte) (any, error) {
	var stack []any
	var marks []int
	next := func(n int) ([]byte, error) {
		if n > len(data) {
			return nil, errors.New("the pickle ends too early")
		}
		b := data[:n]
		data = data[n:]
		return b, nil
	}
	// since takes what was pushed after the last mark off the stack.
	since := func() ([]any, error) {
		if len(marks) == 0 || marks[len(marks)-1] > len(stack) {
			return nil, errors.New("the pickle lacks a mark")
		}
		at := marks[len(marks)-1]
		marks = marks[:len(marks)-1]
		top := append([]any(nil), stack[at:]...)
		stack = stack[:at]
		return top, nil
	}
	grow := func(items []any) error {
		if len(stack) == 0 {
			return errors.New("the pickle has no list to append to")
		}
		l, ok := stack[len(stack)-1].([]any)
		if !ok {
			return errors.New("the pickle appends to something that is no list")
		}
		stack[len(stack)-1] = append(l, items...)
		return nil
	}
	for {
		op, err := next(1)
		if err != nil {
			return nil, err
		}
		switch op[0] {
		case 0x80: // PROTO, one byte
			_, err = next(1)
		case 0x95: // FRAME, eight bytes
			_, err = next(8)
		case 0x94: // MEMOIZE
		case '}': // EMPTY_DICT
			stack = append(stack, map[string]any{})
		case ']': // EMPTY_LIST
			stack = append(stack, []any{})
		case '(': // MARK
			marks = append(marks, len(stack))
		case 0x8c: // SHORT_BINUNICODE, a byte with the length
			var n, s []byte
			if n, err = next(1); err == nil {
				s, err = next(int(n[0]))
			}
			stack = append(stack, string(s))
		case 'a': // APPEND
			if len(stack) == 0 {
				return nil, errors.New("the pickle appends nothing")
			}
			item := stack[len(stack)-1]
			stack = stack[:len(stack)-1]
			err = grow([]any{item})
		case 'e': // APPENDS
			var items []any
			if items, err = since(); err == nil {
				err = grow(items)
			}
		case 'u': // SETITEMS
			var items []any
			if items, err = since(); err == nil {
				err = set(stack, items)
			}
		case '.': // STOP
			if len(stack) != 1 {
				return nil, fmt.Errorf("the pickle leaves %d values, want 1", len(stack))
			}
			return stack[0], nil
		default:
			return nil, fmt.Errorf("the pickle has instruction %#x, which plain data does not need", op[0])
		}
		if err != nil {
			return nil, err
		}
	}
}

// set puts keys and values into the dictionary on top of the stack.
func set(stack, items []any) error {
	if len(stack) == 0 || len(items)%2 != 0 {
		return errors.New("the pickle sets half an item")
	}
	d, ok := stack[len(stack)-1].(map[string]any)
	if !ok {
		return errors.New("the pickle sets items of something that is no dictionary")
	}
	for i := 0; i < len(items); i += 2 {
		key, ok := items[i].(string)
		if !ok {
			return errors.New("the pickle has a key that is no string")
		}
		d[key] = items[i+1]
	}
	return nil
}
