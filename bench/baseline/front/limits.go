package front

const (
	// headBytesMax bounds a request's head: net/http takes as little by default for a line, and
	// clients send some 200 bytes.
	headBytesMax = 4 << 10
)
