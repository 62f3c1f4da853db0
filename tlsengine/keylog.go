package tlsengine

import (
	"bytes"
	"encoding/hex"
	"fmt"
)

// Labels of the key log (draft-ietf-tls-keylogfile). Of the others (handshake secrets) nothing
// is kept.
const (
	labelMaster        = "CLIENT_RANDOM"
	labelClientTraffic = "CLIENT_TRAFFIC_SECRET_0"
	labelServerTraffic = "SERVER_TRAFFIC_SECRET_0"
)

// keyLog is the KeyLogWriter of one handshaker: it keeps the secrets a session is made from until
// the session is made.
type keyLog struct {
	clientRandom [32]byte // TLS 1.2 only
	master       [48]byte
	haveMaster   bool

	client, server       [secretMax]byte // traffic secrets of TLS 1.3 …
	clientLen, serverLen int             // … and their lengths, 0: not seen
}

// Write takes one line: label, client random and secret, the latter two in hex. It overwrites the
// line: io.Writer asks not to, but crypto/tls makes each line for this call and drops it, and what
// it drops would lie in the heap until it is reused.
func (k *keyLog) Write(line []byte) (int, error) {
	defer clear(line)
	fields := bytes.Fields(line)
	if len(fields) != 3 {
		return 0, fmt.Errorf("tlsengine: key log line of %d fields, want 3", len(fields))
	}
	var err error
	switch string(fields[0]) {
	case labelMaster:
		if err = decodeExact(k.clientRandom[:], fields[1]); err == nil {
			err = decodeExact(k.master[:], fields[2])
		}
		k.haveMaster = err == nil
	case labelClientTraffic:
		k.clientLen, err = decodeUpTo(k.client[:], fields[2])
	case labelServerTraffic:
		k.serverLen, err = decodeUpTo(k.server[:], fields[2])
	}
	if err != nil {
		return 0, err
	}
	return len(line), nil
}

func decodeExact(dst, src []byte) error {
	n, err := decodeUpTo(dst, src)
	if err == nil && n != len(dst) {
		err = fmt.Errorf("tlsengine: key log field of %d bytes, want %d", n, len(dst))
	}
	return err
}

func decodeUpTo(dst, src []byte) (int, error) {
	if hex.DecodedLen(len(src)) > len(dst) {
		return 0, fmt.Errorf("tlsengine: key log field of %d digits, want %d at most",
			len(src), 2*len(dst))
	}
	n, err := hex.Decode(dst, src)
	if err != nil {
		return 0, fmt.Errorf("tlsengine: key log field is not hex") // says nothing of the contents
	}
	return n, nil
}

func (k *keyLog) wipe() { *k = keyLog{} }
