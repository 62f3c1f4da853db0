package fakepoll

// stream is one direction of a connection: bytes written and not yet read.
type stream struct {
	data []byte
	head int // read so far
}

func (s *stream) len() int { return len(s.data) - s.head }

func (s *stream) add(b []byte) {
	if s.head > 0 && len(s.data)+len(b) > cap(s.data) {
		// A new array rather than a move: what take handed out stays untouched.
		rest := make([]byte, s.len(), s.len()+len(b))
		copy(rest, s.data[s.head:])
		s.data, s.head = rest, 0
	}
	s.data = append(s.data, b...)
}

// take hands out the next n bytes for good.
func (s *stream) take(n int) []byte {
	b := s.data[s.head : s.head+n : s.head+n]
	s.head += n
	if s.len() == 0 {
		s.data, s.head = nil, 0
	}
	return b
}

// move copies the next bytes to dst, which must not be longer than the stream.
func (s *stream) move(dst []byte) {
	s.head += copy(dst, s.data[s.head:])
	if s.len() == 0 {
		s.data, s.head = s.data[:0], 0
	}
}

// cut drops the last n bytes.
func (s *stream) cut(n int) { s.data = s.data[:len(s.data)-n] }
